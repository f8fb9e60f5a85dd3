//! Names as this machine knows them: its files, and its resolver.

use std::net::{IpAddr, ToSocketAddrs as _};

use fielato_iptables::FileNames;
use fielato_netfilter::syntax::Names;
use fielato_wire::{Addr, Family};

/// Names as this machine knows them.
pub struct Machine {
    files: FileNames,
}

impl Machine {
    /// Reads the files that are there.
    pub fn read() -> Machine {
        let mut files = FileNames::new();
        let read = |path: &str| std::fs::read_to_string(path).ok();
        if let Some(text) = read("/etc/protocols") {
            files.protocols(&text);
        }
        if let Some(text) = read("/etc/services") {
            files.services(&text);
        }
        if let Some(text) = read("/etc/passwd") {
            files.users(&text);
        }
        if let Some(text) = read("/etc/group") {
            files.groups(&text);
        }
        if let Some(text) = read("/etc/hosts") {
            files.hosts(&text);
        }
        if let Some(text) = read("/etc/networks") {
            files.networks(&text);
        }
        for path in [
            "/etc/iproute2/rt_realms",
            "/etc/iproute2/rt_dsfield",
            "/etc/iproute2/group",
            "/etc/xtables/devgroup",
            "/etc/xtables/connlabel.conf",
        ] {
            if let (Some(text), Some((_, file))) = (read(path), path.rsplit_once('/')) {
                files.numbers(file, &text);
            }
        }
        Machine { files }
    }
}

impl Names for Machine {
    fn service(&self, name: &str, protocol: &str) -> Option<u16> {
        self.files.service(name, protocol)
    }

    fn service_name(&self, port: u16, protocol: &str) -> Option<String> {
        self.files.service_name(port, protocol)
    }

    fn protocol(&self, name: &str) -> Option<u8> {
        self.files.protocol(name)
    }

    fn protocol_name(&self, number: u8) -> Option<String> {
        self.files.protocol_name(number)
    }

    fn user(&self, name: &str) -> Option<u32> {
        self.files.user(name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.files.group(name)
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        self.files.user_name(uid)
    }

    fn group_name(&self, gid: u32) -> Option<String> {
        self.files.group_name(gid)
    }

    fn number(&self, file: &str, name: &str) -> Option<u32> {
        self.files.number(file, name)
    }

    fn name_of(&self, file: &str, number: u32) -> Option<String> {
        self.files.name_of(file, number)
    }

    fn host(&self, name: &str, family: Family) -> Vec<Addr> {
        let known = self.files.host(name, family);
        if !known.is_empty() {
            return known;
        }
        let Ok(found) = (name, 0).to_socket_addrs() else {
            return Vec::new();
        };
        let fits = |address: &IpAddr| address.is_ipv4() == (family == Family::V4);
        found.map(|socket| socket.ip()).filter(fits).map(Addr::from).collect()
    }

    fn host_name(&self, address: Addr, family: Family) -> Option<String> {
        self.files.host_name(address, family)
    }
}
