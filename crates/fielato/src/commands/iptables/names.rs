//! Names as this machine knows them: its files, and its resolver.

use std::cell::OnceCell;
use std::net::{IpAddr, ToSocketAddrs as _};

use fielato_iptables::FileNames;
use fielato_netfilter::syntax::Names;
use fielato_wire::{Addr, Family};

/// Names as this machine knows them. A file is read when it is first asked for: most rules need none.
#[derive(Default)]
pub struct Machine {
    protocols: OnceCell<FileNames>,
    services: OnceCell<FileNames>,
    accounts: OnceCell<FileNames>,
    hosts: OnceCell<FileNames>,
    numbers: OnceCell<FileNames>,
}

/// A file, and what takes the names in its text.
type Source = (&'static str, fn(&mut FileNames, &str));

/// A set of names from the files that are there.
fn from(files: &[Source]) -> FileNames {
    let mut names = FileNames::new();
    for (path, take) in files {
        if let Ok(text) = std::fs::read_to_string(path) {
            take(&mut names, &text);
        }
    }
    names
}

impl Machine {
    fn protocols(&self) -> &FileNames {
        self.protocols
            .get_or_init(|| from(&[("/etc/protocols", FileNames::protocols)]))
    }

    fn services(&self) -> &FileNames {
        self.services.get_or_init(|| from(&[("/etc/services", FileNames::services)]))
    }

    fn accounts(&self) -> &FileNames {
        let files: [Source; 2] = [("/etc/passwd", FileNames::users), ("/etc/group", FileNames::groups)];
        self.accounts.get_or_init(|| from(&files))
    }

    fn hosts(&self) -> &FileNames {
        let files: [Source; 2] = [("/etc/hosts", FileNames::hosts), ("/etc/networks", FileNames::networks)];
        self.hosts.get_or_init(|| from(&files))
    }

    fn numbers(&self) -> &FileNames {
        self.numbers.get_or_init(|| {
            from(&[
                ("/etc/iproute2/rt_realms", |names, text| names.numbers("rt_realms", text)),
                ("/etc/iproute2/rt_dsfield", |names, text| names.numbers("rt_dsfield", text)),
                ("/etc/iproute2/group", |names, text| names.numbers("group", text)),
                ("/etc/xtables/devgroup", |names, text| names.numbers("devgroup", text)),
                ("/etc/xtables/connlabel.conf", |names, text| {
                    names.numbers("connlabel.conf", text)
                }),
            ])
        })
    }
}

impl Names for Machine {
    fn service(&self, name: &str, protocol: &str) -> Option<u16> {
        self.services().service(name, protocol)
    }

    fn service_name(&self, port: u16, protocol: &str) -> Option<String> {
        self.services().service_name(port, protocol)
    }

    fn protocol(&self, name: &str) -> Option<u8> {
        self.protocols().protocol(name)
    }

    fn protocol_name(&self, number: u8) -> Option<String> {
        self.protocols().protocol_name(number)
    }

    fn user(&self, name: &str) -> Option<u32> {
        self.accounts().user(name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.accounts().group(name)
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        self.accounts().user_name(uid)
    }

    fn group_name(&self, gid: u32) -> Option<String> {
        self.accounts().group_name(gid)
    }

    fn number(&self, file: &str, name: &str) -> Option<u32> {
        self.numbers().number(file, name)
    }

    fn name_of(&self, file: &str, number: u32) -> Option<String> {
        self.numbers().name_of(file, number)
    }

    fn host(&self, name: &str, family: Family) -> Vec<Addr> {
        let known = self.hosts().host(name, family);
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
        self.hosts().host_name(address, family)
    }
}
