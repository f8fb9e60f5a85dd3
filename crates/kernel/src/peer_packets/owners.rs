//! Whose address it is: the maps that `bpf/packets.bpf.c` asks.

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError};
use fielato_wireguard::PublicKey;
use ipnet::IpNet;

use super::{CountError, code};

/// Both families.
pub(super) struct Owners {
    v4: Family<4>,
    v6: Family<16>,
}

impl Owners {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, CountError> {
        Ok(Self {
            v4: Family::take(ebpf, "hosts_v4", "nets_v4")?,
            v6: Family::take(ebpf, "hosts_v6", "nets_v6")?,
        })
    }

    pub(super) fn set(&mut self, network: IpNet, peer: &PublicKey) -> Result<(), CountError> {
        match network {
            IpNet::V4(net) => self.v4.set(net.network().octets(), net.prefix_len(), peer),
            IpNet::V6(net) => self.v6.set(net.network().octets(), net.prefix_len(), peer),
        }
    }

    pub(super) fn remove(&mut self, network: IpNet) -> Result<(), CountError> {
        match network {
            IpNet::V4(net) => self.v4.remove(net.network().octets(), net.prefix_len()),
            IpNet::V6(net) => self.v6.remove(net.network().octets(), net.prefix_len()),
        }
    }
}

/// A family whose addresses have `N` bytes. The program asks for the host first.
struct Family<const N: usize> {
    hosts: HashMap<MapData, [u8; N], [u8; 32]>,
    nets: LpmTrie<MapData, [u8; N], [u8; 32]>,
    names: (&'static str, &'static str),
}

impl<const N: usize> Family<N> {
    fn take(ebpf: &mut Ebpf, hosts: &'static str, nets: &'static str) -> Result<Self, CountError> {
        let mut map = |name| ebpf.take_map(name).ok_or(MapError::ElementNotFound);
        Ok(Self {
            hosts: map(hosts).and_then(HashMap::try_from).map_err(CountError::map(hosts))?,
            nets: map(nets).and_then(LpmTrie::try_from).map_err(CountError::map(nets))?,
            names: (hosts, nets),
        })
    }

    fn set(&mut self, address: [u8; N], len: u8, peer: &PublicKey) -> Result<(), CountError> {
        if usize::from(len) == 8 * N {
            match self.hosts.insert(address, peer.0, 0) {
                // No room: the trie has it.
                Err(error) if code(&error) == Some(libc::E2BIG) => {}
                result => return result.map_err(CountError::map(self.names.0)),
            }
        }
        self.nets
            .insert(&Key::new(len.into(), address), peer.0, 0)
            .map_err(CountError::map(self.names.1))
    }

    fn remove(&mut self, address: [u8; N], len: u8) -> Result<(), CountError> {
        // The trie first: what it has of a host may be older.
        there(self.nets.remove(&Key::new(len.into(), address))).map_err(CountError::map(self.names.1))?;
        if usize::from(len) == 8 * N {
            there(self.hosts.remove(&address)).map_err(CountError::map(self.names.0))?;
        }
        Ok(())
    }
}

/// What was not there need not be removed.
fn there(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(error) if code(&error) == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}
