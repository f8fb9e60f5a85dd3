//! Who is logged in on the machine: what sshd tells a login, and, since sudo and tmux lose that, the connections that there are.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Session, Whose};
use crate::Config;
use crate::trace::outer;

/// Where sshd listens, unless it says otherwise.
pub const SSH: u16 = 22;
/// `TCP_ESTABLISHED` and `TCP_LISTEN` (`include/net/tcp_states.h`), as `/proc/net/tcp` has them.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// A TCP connection to the hub's machine, over which somebody is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Login {
    /// The other end's address.
    pub peer: IpAddr,
    /// The machine's end.
    pub hub: SocketAddr,
}

impl Login {
    /// As `sshd` says it to a login: `SSH_CONNECTION`, the client's address and port, then the server's. `None` for another text, and
    /// for a login from the machine itself, which no rule can cut.
    pub fn of_ssh(text: &str) -> Option<Login> {
        let [client, _, server, port]: [&str; 4] = text.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
        // A link-local address may name its interface.
        let address = |text: &str| -> Option<IpAddr> {
            let text = text.split_once('%').map_or(text, |(address, _)| address);
            text.parse().ok()
        };
        Login::between(address(client)?, SocketAddr::new(address(server)?, port.parse().ok()?))
    }

    /// The established connections to these ports of the machine's, each address once; `text` is `/proc/net/tcp`, or `tcp6`
    /// (`man 5 proc`). What has another form is none.
    pub fn established(text: &str, ports: &[u16]) -> BTreeSet<Login> {
        let login = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let (own, peer, state) = (end(words.next()?)?, end(words.next()?)?, words.next()?);
            let fits = state == ESTABLISHED && ports.contains(&own.port());
            fits.then(|| Login::between(peer.ip(), own))?
        };
        text.lines().filter_map(login).collect()
    }

    /// The ports on which any of these sockets listens, named by their inodes; `text` is as for [`Login::established`].
    pub fn listening(text: &str, sockets: &BTreeSet<u64>) -> BTreeSet<u16> {
        let port = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (own, state, inode) = (end(words.get(1)?)?, *words.get(3)?, words.get(9)?.parse().ok()?);
            (state == LISTEN && sockets.contains(&inode)).then(|| own.port())
        };
        text.lines().filter_map(port).collect()
    }

    /// An IPv4 address may be written as IPv6.
    fn between(peer: IpAddr, own: SocketAddr) -> Option<Login> {
        let (peer, own) = (peer.to_canonical(), SocketAddr::new(own.ip().to_canonical(), own.port()));
        let far = !peer.is_loopback() && peer != own.ip();
        far.then_some(Login { peer, hub: own })
    }

    /// Whether it comes out of the tunnel, or ends at the hub's address in the overlay.
    fn is_ours(&self, config: &Config) -> bool {
        let hub = &config.hub;
        let mut members = config.members.values();
        hub.addresses
            .iter()
            .any(|net| net.contains(&self.peer) || net.addr() == self.hub.ip())
            || members.any(|member| member.addresses.contains(&self.peer))
    }
}

/// `0100007F:0016`: words of 32 bits as the machine holds them, and the port as a number.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |place: usize| {
        let digits = address.get(place * 8..place * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Who is logged in, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logins {
    /// Over what whoever runs the command is logged in.
    #[serde(default)]
    pub own: Option<Login>,
    /// The address that he says is his.
    #[serde(default)]
    pub admin: Option<IpAddr>,
    /// The connections to sshd.
    #[serde(default)]
    pub found: Vec<Login>,
}

impl Logins {
    /// The sessions that must not break, or whose end is to be told: those of `config`'s members, and his own wherever it comes from.
    pub fn sessions(&self, config: &Config) -> Vec<Session> {
        let own: Vec<Login> = match self.admin {
            Some(admin) => self.of(admin.to_canonical(), config),
            None => self.own.into_iter().collect(),
        };
        let may_be_own = self.admin.is_none() && self.own.is_none();
        let others = self
            .found
            .iter()
            .filter(|login| login.is_ours(config) && !own.contains(login));
        let others = others.map(|login| (Whose::Login { may_be_own }, *login));
        own.iter()
            .map(|login| (Whose::Admin, *login))
            .chain(others)
            .map(|(whose, Login { peer, hub })| Session { whose, peer, hub })
            .collect()
    }

    /// The connections from an address; where there is none, the one that would be made.
    fn of(&self, admin: IpAddr, config: &Config) -> Vec<Login> {
        let there = self.own.iter().chain(&self.found).filter(|login| login.peer == admin);
        let there: BTreeSet<Login> = there.copied().collect();
        if !there.is_empty() {
            return there.into_iter().collect();
        }
        let port = self.own.map_or(SSH, |own| own.hub.port());
        let overlay = config.hub.addresses.iter().map(|net| net.addr());
        let inside = Login {
            peer: admin,
            hub: SocketAddr::new(admin, port),
        };
        let own: Vec<IpAddr> = match inside.is_ours(config) {
            true => overlay.collect(),
            false => outer(&config.hub),
        };
        let own = own.into_iter().find(|own| own.is_ipv4() == admin.is_ipv4());
        let own = own.and_then(|own| Login::between(admin, SocketAddr::new(own, port)));
        own.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    const V4: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 0104A8C0:0016 0204A8C0:C350 01 00000000:00000000 02:000A2F9C 00000000     0        0 12 2 0 20 4 30 10 -1
   2: 0104A8C0:0016 0204A8C0:C351 01 00000000:00000000 02:000A2F9C 00000000     0        0 13 2 0 20 4 30 10 -1
   3: 0104A8C0:0016 0304A8C0:C350 06 00000000:00000000 03:00000A2F 00000000     0        0 0 3 0
   4: 0104A8C0:01BB 0304A8C0:C350 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0
   5: 0100007F:0016 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 15 1 0
   6: 0104A8C0:08AE 0404A8C0:C350 01 00000000:00000000 00:00000000 00000000     0        0 16 1 0
   7: 0104A8C0:0016 0504A8
   8: nonsense:0016 0504A8C0:C350 01
";
    #[cfg(target_endian = "little")]
    const V6: &str = "  sl  local_address                         remote_address                        st
   0: 040000FD000000000000000001000000:0016 040000FD000000000000000002000000:C350 01 00000000:00000000
   1: 0000000000000000FFFF00000104A8C0:0016 0000000000000000FFFF00000904A8C0:C350 01 00000000:00000000
";

    fn logins(text: &str, ports: &[u16]) -> Vec<String> {
        let found = Login::established(text, ports).into_iter();
        found.map(|login| format!("{} {}", login.peer, login.hub)).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn established_connections_to_sshd() {
        assert_eq!(
            logins(V4, &[SSH]),
            ["192.168.4.2 192.168.4.1:22"],
            "two of one address, one that ends, another service, the machine's own"
        );
        assert_eq!(
            logins(V4, &[SSH, 2222]),
            ["192.168.4.2 192.168.4.1:22", "192.168.4.4 192.168.4.1:2222"]
        );
        assert_eq!(logins(V6, &[SSH]), ["192.168.4.9 192.168.4.1:22", "fd00:4::2 [fd00:4::1]:22"]);
        let listening = |sockets: &[u64]| Login::listening(V4, &sockets.iter().copied().collect());
        assert_eq!(listening(&[11, 12, 14]), [SSH].into());
        assert_eq!(listening(&[12, 14]), [].into(), "connections");
        assert!(logins("", &[SSH]).is_empty() && logins("\u{e4}\u{f6}\n1: a:b c:d 01\n", &[SSH]).is_empty());
    }
}
