//! The loaded program and its maps: bans, counters, and nothing about interfaces.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::error::GuardError;
use super::hosts::Hosts;
use super::prefilter::{self, HASHED_WORDS, HOSTS, Multipliers, NetsV6, V4_NETS, V4_WORDS};
use super::sys::{self, SharedWords};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/guard.bpf.o"));
const PROGRAM: &str = "fielato_guard";

/// Devices of bare IP packets other than tunnels (linux/if_arp.h).
const ARPHRD_RAWIP: u16 = 519;

/// Packets and bytes, as the program stores them.
pub(super) type Counter = [u64; 2];

/// Where a packet begins on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkLayer {
    /// With an Ethernet header, perhaps with VLAN tags.
    Ethernet,
    /// With the IP header: WireGuard and TUN devices.
    None,
}

impl LinkLayer {
    /// From `/sys/class/net/IFACE/type` (`linux/if_arp.h`). It is never guessed from packets: on a device without a link
    /// header a source in 8.0.0.0/16 has the Ethernet type of IPv4 just where a frame would.
    pub fn from_arphrd(arphrd: u16) -> Result<Self, GuardError> {
        match arphrd {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Ok(Self::Ethernet),
            libc::ARPHRD_NONE | ARPHRD_RAWIP => Ok(Self::None),
            _ => Err(GuardError::UnknownDeviceType { arphrd }),
        }
    }
}

/// What a ban has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BanCount {
    /// The banned network.
    pub network: IpNet,
    /// Packets dropped.
    pub packets: u64,
    /// IP bytes dropped.
    pub bytes: u64,
}

/// What a source has sent and the guard let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceCount {
    /// The source address.
    pub address: IpAddr,
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
}

/// Packets that the guard could not read, and left to the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unread {
    /// Shorter than their headers.
    pub short: u64,
    /// Neither IPv4 nor IPv6 (ARP, for one).
    pub not_ip: u64,
}

/// The verdict and cost of a run that touched no interface.
#[derive(Debug, Clone, Copy)]
pub struct TestResult {
    /// The packet was dropped.
    pub dropped: bool,
    /// Mean time of one run.
    pub time: Duration,
}

/// The program in the kernel, attached to nothing yet.
pub struct Filter {
    ebpf: Ebpf,
    bans_v4: BTreeSet<Ipv4Net>,
    bans_v6: BTreeSet<Ipv6Net>,
    multipliers: Multipliers,
    hosts_v4: Hosts<8>,
    hosts_v6: Hosts<16>,
    trie_v4: LpmTrie<MapData, [u8; 4], Counter>,
    trie_v6: LpmTrie<MapData, [u8; 16], Counter>,
    words_v4: SharedWords,
    words_v6: SharedWords,
    nets_v4: usize,
    nets_v6: NetsV6,
    active: Array<MapData, [u64; 2]>,
    sources_v4: MapData,
    sources_v6: MapData,
    source_limit: usize,
    notes: PerCpuArray<MapData, u64>,
    cpus: usize,
}

impl fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Filter")
            .field("bans_v4", &self.bans_v4.len())
            .field("bans_v6", &self.bans_v6.len())
            .finish_non_exhaustive()
    }
}

impl Filter {
    /// How many bans fit, per address family.
    pub const MAX_BANS: usize = 131_072;

    /// Loads the program for a kind of device, with room for that many sources per address family.
    pub fn load(link_layer: LinkLayer, sources: u32) -> Result<Self, GuardError> {
        let ethernet = u8::from(link_layer == LinkLayer::Ethernet);
        let multipliers = Multipliers {
            from_64: random_odd(),
            from_48: random_odd(),
            from_32: random_odd(),
            host_high: random_odd(),
            host_low: random_odd(),
        };
        let sources = sources.max(1);
        let mut ebpf = EbpfLoader::new()
            .btf(None) // nothing in the program depends on the kernel's own types
            .override_global("ETHERNET", &ethernet, true)
            .override_global("HASH_64", &multipliers.from_64, true)
            .override_global("HASH_48", &multipliers.from_48, true)
            .override_global("HASH_32", &multipliers.from_32, true)
            .override_global("HASH_HOST_HIGH", &multipliers.host_high, true)
            .override_global("HASH_HOST_LOW", &multipliers.host_low, true)
            .map_max_entries("net_bans_v4", Self::MAX_BANS as u32)
            .map_max_entries("net_bans_v6", Self::MAX_BANS as u32)
            .map_max_entries("host_bans_v4", Self::MAX_BANS as u32)
            .map_max_entries("host_bans_v6", Self::MAX_BANS as u32)
            .map_max_entries("sources_v4", sources)
            .map_max_entries("sources_v6", sources)
            .load(OBJECT)
            .map_err(GuardError::load)?;
        xdp(&mut ebpf).load().map_err(GuardError::verify)?;

        let words = |map: MapData, count| {
            SharedWords::map(map.fd(), count).map_err(GuardError::system("mapping the prefilter into memory"))
        };
        Ok(Self {
            hosts_v4: Hosts::new(
                hash(&mut ebpf, "host_bans_v4")?,
                words(data(&mut ebpf, "host_bits_v4"), HASHED_WORDS)?,
            ),
            hosts_v6: Hosts::new(
                hash(&mut ebpf, "host_bans_v6")?,
                words(data(&mut ebpf, "host_bits_v6"), HASHED_WORDS)?,
            ),
            trie_v4: trie(&mut ebpf, "net_bans_v4")?,
            trie_v6: trie(&mut ebpf, "net_bans_v6")?,
            words_v4: words(data(&mut ebpf, "net_bits_v4"), V4_WORDS)?,
            words_v6: words(data(&mut ebpf, "net_bits_v6"), HASHED_WORDS)?,
            nets_v4: 0,
            nets_v6: NetsV6::new(multipliers),
            multipliers,
            active: Array::try_from(take(&mut ebpf, ".bss")).map_err(GuardError::map(".bss"))?,
            sources_v4: data(&mut ebpf, "sources_v4"),
            sources_v6: data(&mut ebpf, "sources_v6"),
            source_limit: sources as usize,
            notes: PerCpuArray::try_from(take(&mut ebpf, "notes")).map_err(GuardError::map("notes"))?,
            cpus: aya::util::nr_cpus().map_err(|(_, error)| GuardError::system("counting the possible CPUs")(error))?,
            bans_v4: BTreeSet::new(),
            bans_v6: BTreeSet::new(),
            ebpf,
        })
    }

    /// Refuses a network from now on: when this returns, no packet of it passes. Host bits are cleared, and an
    /// IPv4-mapped network is taken for its IPv4 one. False when it was banned already; its counters then stay.
    ///
    /// Where bans overlap, the most specific one counts.
    pub fn ban(&mut self, network: IpNet) -> Result<bool, GuardError> {
        match normal(network) {
            IpNet::V4(network) => self.ban_v4(network),
            IpNet::V6(network) => self.ban_v6(network),
        }
    }

    /// Refuses many networks; all that come before a failure stand.
    pub fn ban_all(&mut self, networks: &[IpNet]) -> Result<(), GuardError> {
        networks.iter().try_for_each(|network| self.ban(*network).map(drop))
    }

    /// Lets a network pass again, apart from what other bans cover. False when there was no such ban.
    pub fn unban(&mut self, network: IpNet) -> Result<bool, GuardError> {
        match normal(network) {
            IpNet::V4(network) => self.unban_v4(network),
            IpNet::V6(network) => self.unban_v6(network),
        }
    }

    fn ban_v4(&mut self, ban: Ipv4Net) -> Result<bool, GuardError> {
        if self.bans_v4.contains(&ban) {
            return Ok(false);
        }
        room(self.bans_v4.len(), ban.into())?;
        if is_host_v4(ban) {
            let slot = self.multipliers.host_slot(ban.addr().into());
            self.hosts_v4
                .insert(host_v4(ban.addr()), slot)
                .map_err(GuardError::map("host_bans_v4"))?;
        } else {
            // The trie first: a bit without a ban costs a walk, but a ban without its bit is none.
            self.trie_v4
                .insert(&net_v4(ban), [0, 0], 0)
                .map_err(GuardError::map("net_bans_v4"))?;
            self.nets_v4 += 1;
            prefilter::set_v4(&self.words_v4, ban);
        }
        self.bans_v4.insert(ban);
        self.publish()?;
        Ok(true)
    }

    fn ban_v6(&mut self, ban: Ipv6Net) -> Result<bool, GuardError> {
        if self.bans_v6.contains(&ban) {
            return Ok(false);
        }
        room(self.bans_v6.len(), ban.into())?;
        if is_host_v6(ban) {
            let slot = self.multipliers.host_slot(ban.addr().into());
            self.hosts_v6
                .insert(ban.addr().octets(), slot)
                .map_err(GuardError::map("host_bans_v6"))?;
        } else {
            self.trie_v6
                .insert(&net_v6(ban), [0, 0], 0)
                .map_err(GuardError::map("net_bans_v6"))?;
            self.nets_v6.add(&self.words_v6, ban);
        }
        self.bans_v6.insert(ban);
        self.publish()?;
        Ok(true)
    }

    fn unban_v4(&mut self, ban: Ipv4Net) -> Result<bool, GuardError> {
        if !self.bans_v4.contains(&ban) {
            return Ok(false);
        }
        if is_host_v4(ban) {
            let slot = self.multipliers.host_slot(ban.addr().into());
            self.hosts_v4
                .remove(host_v4(ban.addr()), slot)
                .map_err(GuardError::map("host_bans_v4"))?;
            self.bans_v4.remove(&ban);
        } else {
            self.trie_v4.remove(&net_v4(ban)).map_err(GuardError::map("net_bans_v4"))?;
            self.bans_v4.remove(&ban);
            self.nets_v4 -= 1;
            prefilter::recompute_v4(&self.words_v4, ban, &self.bans_v4);
        }
        self.publish()?;
        Ok(true)
    }

    fn unban_v6(&mut self, ban: Ipv6Net) -> Result<bool, GuardError> {
        if !self.bans_v6.contains(&ban) {
            return Ok(false);
        }
        if is_host_v6(ban) {
            let slot = self.multipliers.host_slot(ban.addr().into());
            self.hosts_v6
                .remove(ban.addr().octets(), slot)
                .map_err(GuardError::map("host_bans_v6"))?;
        } else {
            self.trie_v6.remove(&net_v6(ban)).map_err(GuardError::map("net_bans_v6"))?;
            self.nets_v6.remove(&self.words_v6, ban);
        }
        self.bans_v6.remove(&ban);
        self.publish()?;
        Ok(true)
    }

    /// Tells the program which kinds of bans there are.
    fn publish(&mut self) -> Result<(), GuardError> {
        let hosts = |none: bool| if none { 0 } else { HOSTS };
        let nets_v4 = if self.nets_v4 == 0 { 0 } else { V4_NETS };
        let active = [
            hosts(self.hosts_v4.is_empty()) | nets_v4,
            hosts(self.hosts_v6.is_empty()) | self.nets_v6.active(),
        ];
        self.active.set(0, active, 0).map_err(GuardError::map(".bss"))
    }

    /// The bans and what they refused, in order of address, IPv4 first.
    pub fn bans(&self) -> Result<Vec<BanCount>, GuardError> {
        let mut counts = Vec::with_capacity(self.bans_v4.len() + self.bans_v6.len());
        for ban in &self.bans_v4 {
            let count = if is_host_v4(*ban) {
                let count = self.hosts_v4.count(host_v4(ban.addr()));
                count.map_err(GuardError::map("host_bans_v4"))?
            } else {
                let count = self.trie_v4.get(&net_v4(*ban), 0);
                count.map_err(GuardError::map("net_bans_v4"))?
            };
            counts.push(refused((*ban).into(), count));
        }
        for ban in &self.bans_v6 {
            let count = if is_host_v6(*ban) {
                let count = self.hosts_v6.count(ban.addr().octets());
                count.map_err(GuardError::map("host_bans_v6"))?
            } else {
                let count = self.trie_v6.get(&net_v6(*ban), 0);
                count.map_err(GuardError::map("net_bans_v6"))?
            };
            counts.push(refused((*ban).into(), count));
        }
        Ok(counts)
    }

    /// The sources seen of late and what they sent, in order of address, IPv4 first; refused packets are not counted here.
    pub fn sources(&self) -> Result<Vec<SourceCount>, GuardError> {
        let read = GuardError::system("reading the counters of the sources");
        let value = self.cpus * size_of::<Counter>();
        let mut counts = Vec::new();
        let v4 = sys::lookup_all(self.sources_v4.fd(), self.source_limit, 8, value).map_err(&read)?;
        for (key, values) in v4.keys.as_chunks::<8>().0.iter().zip(v4.values.chunks_exact(value)) {
            counts.push(summed(address_of_host_v4(*key).into(), values));
        }
        let v6 = sys::lookup_all(self.sources_v6.fd(), self.source_limit, 16, value).map_err(&read)?;
        for (key, values) in v6.keys.as_chunks::<16>().0.iter().zip(v6.values.chunks_exact(value)) {
            counts.push(summed(Ipv6Addr::from(*key).into(), values));
        }
        counts.sort_unstable_by_key(|count| count.address);
        Ok(counts)
    }

    /// How many packets the guard could not read.
    pub fn unread(&self) -> Result<Unread, GuardError> {
        let sum = |index: u32| -> Result<u64, GuardError> {
            let values = self.notes.get(&index, 0).map_err(GuardError::map("notes"))?;
            Ok(values.iter().sum())
        };
        Ok(Unread {
            short: sum(0)?,
            not_ip: sum(1)?,
        })
    }

    /// Runs the program on a packet `repeat` times without any interface (`BPF_PROG_TEST_RUN`). The counters count. The
    /// kernel takes no packet shorter than 14 bytes here.
    pub fn test_run(&mut self, packet: &[u8], repeat: u32) -> Result<TestResult, GuardError> {
        run(xdp(&mut self.ebpf), packet, repeat)
    }

    /// The program, for attaching.
    pub(super) fn program(&mut self) -> &mut Xdp {
        xdp(&mut self.ebpf)
    }
}

/// Runs any XDP program on a packet without an interface.
pub fn run(program: &Xdp, packet: &[u8], repeat: u32) -> Result<TestResult, GuardError> {
    const XDP_DROP: u32 = 1;
    let mut options = TestRunOptions::new();
    options.data_in = Some(packet);
    options.repeat = repeat;
    let result = program.test_run(options).map_err(|error| {
        let source = super::error::system_error(&error).unwrap_or_else(|| std::io::Error::other(error));
        GuardError::System {
            what: "BPF_PROG_TEST_RUN",
            source,
        }
    })?;
    Ok(TestResult {
        dropped: result.return_value == XDP_DROP,
        time: result.duration,
    })
}

/// Sums the values of all CPUs; one CPU's packets and bytes may be read one packet apart while it counts.
fn summed(address: IpAddr, values: &[u8]) -> SourceCount {
    let (mut packets, mut bytes) = (0, 0);
    for pair in values.as_chunks::<8>().0.chunks_exact(2) {
        packets += u64::from_ne_bytes(pair[0]);
        bytes += u64::from_ne_bytes(pair[1]);
    }
    SourceCount { address, packets, bytes }
}

/// Host bits cleared, IPv4-mapped networks as IPv4: no packet on the wire has a mapped source (RFC 4291, 2.5.5.2).
fn normal(network: IpNet) -> IpNet {
    let network = network.trunc();
    if let IpNet::V6(v6) = network
        && let Some(address) = v6.network().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
    {
        return Ipv4Net::new(address, length).expect("128 - 96 is 32").into();
    }
    network
}

fn room(bans: usize, network: IpNet) -> Result<(), GuardError> {
    if bans < Filter::MAX_BANS {
        Ok(())
    } else {
        Err(GuardError::TooManyBans {
            network,
            limit: Filter::MAX_BANS,
        })
    }
}

fn refused(network: IpNet, [packets, bytes]: Counter) -> BanCount {
    BanCount { network, packets, bytes }
}

fn is_host_v4(ban: Ipv4Net) -> bool {
    ban.prefix_len() == 32
}

fn is_host_v6(ban: Ipv6Net) -> bool {
    ban.prefix_len() == 128
}

/// The program's `host_v4`: the address as it is in memory, widened to eight bytes.
fn host_v4(address: Ipv4Addr) -> [u8; 8] {
    u64::from(u32::from_ne_bytes(address.octets())).to_ne_bytes()
}

fn address_of_host_v4(key: [u8; 8]) -> Ipv4Addr {
    Ipv4Addr::from((u64::from_ne_bytes(key) as u32).to_ne_bytes())
}

fn net_v4(ban: Ipv4Net) -> Key<[u8; 4]> {
    Key::new(u32::from(ban.prefix_len()), ban.network().octets())
}

fn net_v6(ban: Ipv6Net) -> Key<[u8; 16]> {
    Key::new(u32::from(ban.prefix_len()), ban.network().octets())
}

/// A random odd number; the standard library seeds its hashers from the kernel's generator.
fn random_odd() -> u64 {
    RandomState::new().build_hasher().finish() | 1
}

fn xdp(ebpf: &mut Ebpf) -> &mut Xdp {
    ebpf.program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .expect("the embedded object has the program")
}

fn take(ebpf: &mut Ebpf, name: &str) -> Map {
    ebpf.take_map(name).expect("the embedded object has the map")
}

fn data(ebpf: &mut Ebpf, name: &'static str) -> MapData {
    match take(ebpf, name) {
        Map::Array(data) | Map::PerCpuLruHashMap(data) => data,
        other => unreachable!("the embedded object declares {name} as an array or an LRU map, not {other:?}"),
    }
}

fn hash<const N: usize>(ebpf: &mut Ebpf, name: &'static str) -> Result<HashMap<MapData, [u8; N], Counter>, GuardError> {
    HashMap::try_from(take(ebpf, name)).map_err(GuardError::map(name))
}

fn trie<K: aya::Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<LpmTrie<MapData, K, Counter>, GuardError> {
    LpmTrie::try_from(take(ebpf, name)).map_err(GuardError::map(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_made_normal() {
        for (given, expected) in [
            ("192.168.4.3/24", "192.168.4.0/24"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("fd00::1/64", "fd00::/64"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(normal(given.parse().unwrap()).to_string(), expected, "{given}");
        }
    }

    #[test]
    fn link_layers_are_told_by_type() {
        assert_eq!(LinkLayer::from_arphrd(1).unwrap(), LinkLayer::Ethernet);
        assert_eq!(LinkLayer::from_arphrd(65534).unwrap(), LinkLayer::None);
        assert!(LinkLayer::from_arphrd(512).unwrap_err().to_string().contains("512"));
    }
}
