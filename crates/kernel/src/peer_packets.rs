//! Packets of each peer of a kernel WireGuard interface: the driver counts bytes only.
//!
//! The program is `bpf/packets.bpf.c`, a filter at both of tc's hooks of the interface (clsact). With it the kernel counts on when
//! this process is killed: the filter holds the program, and the counters are pinned, where there is a bpffs, for the next process
//! to go on with. The filter goes with the interface.
//!
//! What is counted: on the way in what WireGuard has decrypted and an XDP program has passed, on the way out what the rules let
//! go to the interface, before its disciplines and before WireGuard, which may still drop it. Of a superpacket each piece counts.

mod owners;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapError, MapInfo, PerCpuHashMap, PerCpuValues};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use fielato_wireguard::{PeerPackets, PublicKey};
use ipnet::IpNet;

use crate::guard::{Entries, brief, lookup_all, on_bpffs, system_error, unwritable};
use owners::Owners;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/packets.bpf.o"));
const RECEIVED: (&str, TcAttachType) = ("fielato_received", TcAttachType::Ingress);
const SENT: (&str, TcAttachType) = ("fielato_sent", TcAttachType::Egress);
const COUNTS: &str = "counts_of";

/// Where our filter stands among others of the interface: first, so that none can hide a packet from it. By the handle the next
/// process finds it.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0xf1e1);

/// How many peers have room.
const PEERS_MAX: usize = 1 << 16;
/// Of `counts` in the program.
const KEY_SIZE: u32 = 32;
const VALUE_SIZE: u32 = 16;

/// Received and sent.
type Counts = [u64; 2];

/// Whose addresses are whose, as WireGuard's allowed IPs.
pub type Wanted = BTreeMap<IpNet, PublicKey>;

/// Why packets are not counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The kernel refused for want of privilege.
    #[error(
        "counting members' packets: the kernel does not permit BPF here ({0}); it wants CAP_BPF and CAP_NET_ADMIN in the first \
         user namespace (run as root, or AmbientCapabilities=CAP_BPF CAP_NET_ADMIN in the unit)"
    )]
    NotPermitted(#[source] io::Error),
    /// The program or its maps could not be loaded.
    #[error("counting members' packets: the program could not be loaded: {}; it wants kernel 5.18 or newer", brief(.0))]
    Load(#[source] Box<EbpfError>),
    /// The interface has no place for it.
    #[error(
        "counting members' packets: no filter can be set on {interface}: {source}; the kernel wants CONFIG_NET_SCH_INGRESS and \
         CONFIG_NET_CLS_BPF"
    )]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map could not be read or written.
    #[error("counting members' packets: map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why; there is room for 65,536 peers.
        #[source]
        source: Box<MapError>,
    },
    /// The counters could not be read.
    #[error("counting members' packets: the counters cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The pin is in the way, or could not be removed.
    #[error("counting members' packets: pin {path}: {source}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The number of processors is not to be had.
    #[error("counting members' packets: cannot read /sys/devices/system/cpu/possible: {0}")]
    Processors(#[source] io::Error),
}

impl CountError {
    fn map(map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self::Map {
            map,
            source: Box::new(source),
        }
    }

    fn load(error: impl Into<EbpfError>) -> Self {
        let error = error.into();
        match system_error(&error) {
            Some(source) if source.raw_os_error() == Some(libc::EPERM) => Self::NotPermitted(source),
            // EACCES is the verifier's word, and it says why.
            _ => Self::Load(Box::new(error)),
        }
    }
}

/// The counting on an interface. Dropping it changes nothing there.
pub struct PeerCounting {
    owners: Owners,
    counts: PerCpuHashMap<MapData, [u8; 32], Counts>,
    /// The same map.
    descriptor: OwnedFd,
    life: u32,
    processors: usize,
    wanted: Wanted,
    pinned: bool,
}

impl PeerCounting {
    /// Counts on an interface of this network namespace from the first packet on. Counters that are pinned at `pin` go on.
    ///
    /// # Errors
    /// Any [`CountError`]; nothing counts then.
    pub fn attach(interface: &str, pin: &Path, wanted: &Wanted) -> Result<Self, CountError> {
        let (mut ebpf, pinned) = load(prepare(pin)?)?;
        let counts = ebpf.take_map(COUNTS).ok_or(MapError::ElementNotFound);
        let counts = counts.map_err(CountError::map(COUNTS))?;
        let (life, descriptor) = identify(&counts)?;
        let mut counting = Self {
            life,
            descriptor,
            counts: PerCpuHashMap::try_from(counts).map_err(CountError::map(COUNTS))?,
            owners: Owners::take(&mut ebpf)?,
            processors: nr_cpus().map_err(|(_, error)| CountError::Processors(error))?,
            wanted: Wanted::new(),
            pinned,
        };
        counting.extend(wanted)?;
        for hook in [RECEIVED, SENT] {
            attach(&mut ebpf, interface, hook)?;
        }
        counting.forget_others()?;
        Ok(counting)
    }

    /// Names one life of the counters, among all of this boot.
    pub fn life(&self) -> u32 {
        self.life
    }

    /// Whether the next process can go on with the counters.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Counts for these from now on, too; whose addresses they were before is forgotten. For use before the peers are there.
    ///
    /// # Errors
    /// The first that there was no room for; the others count. Of that one nothing is counted.
    pub fn extend(&mut self, wanted: &Wanted) -> Result<(), CountError> {
        let mut result = Ok(());
        for (&network, peer) in wanted {
            if self.wanted.get(&network) == Some(peer) {
                continue;
            }
            let added = self.begin(peer).and_then(|()| self.owners.set(network, peer));
            match added {
                Ok(()) => drop(self.wanted.insert(network, *peer)),
                Err(error) => {
                    // Better no number than a wrong one.
                    let _ = self.counts.remove(&peer.0);
                    result = result.and(Err(error));
                }
            }
        }
        result
    }

    /// Counts for no others any more. For use after their peers are gone.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn retain(&mut self, wanted: &Wanted) -> Result<(), CountError> {
        let before: BTreeSet<PublicKey> = self.wanted.values().copied().collect();
        let gone: Vec<IpNet> = self.wanted.keys().filter(|net| !wanted.contains_key(net)).copied().collect();
        for network in gone {
            self.owners.remove(network)?;
            self.wanted.remove(&network);
        }
        let peers: BTreeSet<PublicKey> = wanted.values().copied().collect();
        before.difference(&peers).try_for_each(|peer| self.end(peer))
    }

    /// What each peer has sent and got since it was first wanted.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn counts(&self) -> Result<HashMap<PublicKey, PeerPackets>, CountError> {
        const NUMBER: usize = size_of::<u64>();
        let value = VALUE_SIZE as usize * self.processors;
        let Entries { keys, values } =
            lookup_all(&self.descriptor, PEERS_MAX, KEY_SIZE as usize, value).map_err(CountError::Read)?;
        let sum = |value: &[u8]| {
            let mut packets = PeerPackets::default();
            for of_processor in value.as_chunks::<NUMBER>().0.chunks(2) {
                if let [received, sent] = of_processor {
                    packets.rx = packets.rx.wrapping_add(u64::from_ne_bytes(*received));
                    packets.tx = packets.tx.wrapping_add(u64::from_ne_bytes(*sent));
                }
            }
            packets
        };
        let keys = keys.as_chunks::<{ KEY_SIZE as usize }>().0.iter();
        let entries = keys.zip(values.chunks_exact(value));
        Ok(entries.map(|(key, value)| (PublicKey(*key), sum(value))).collect())
    }

    /// Removes what is pinned; false when there is nothing. The filter goes with its interface.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove_pin(path: &Path) -> Result<bool, CountError> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(CountError::Pin {
                path: path.into(),
                source,
            }),
        }
    }

    /// What an earlier process counted for peers that are none any more.
    fn forget_others(&mut self) -> Result<(), CountError> {
        let peers: BTreeSet<PublicKey> = self.wanted.values().copied().collect();
        let counted: BTreeSet<PublicKey> = self.counts()?.into_keys().collect();
        counted.difference(&peers).try_for_each(|peer| self.end(peer))
    }

    fn end(&mut self, peer: &PublicKey) -> Result<(), CountError> {
        match self.counts.remove(&peer.0) {
            // It never had any: there was no room.
            Err(error) if code(&error) == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(CountError::map(COUNTS)),
        }
    }

    /// Makes the peer's counters, at nothing; those that are there go on.
    fn begin(&mut self, peer: &PublicKey) -> Result<(), CountError> {
        let nothing = PerCpuValues::try_from(vec![Counts::default(); self.processors]).map_err(CountError::Processors)?;
        match self.counts.insert(peer.0, nothing, BPF_NOEXIST) {
            Err(error) if code(&error) == Some(libc::EEXIST) => Ok(()),
            result => result.map_err(CountError::map(COUNTS)),
        }
    }
}

/// linux/bpf.h: an element that is there is left alone.
const BPF_NOEXIST: u64 = 1;

/// The path, where something can be pinned there. What an incompatible version has left is removed.
fn prepare(path: &Path) -> Result<Option<&Path>, CountError> {
    let fail = |source| CountError::Pin {
        path: path.into(),
        source,
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !on_bpffs(directory).map_err(fail)? {
        return Ok(None);
    }
    match fs::create_dir_all(directory) {
        Err(error) if unwritable(&error) => return Ok(None),
        result => result.map_err(fail)?,
    }
    if fs::exists(path).map_err(fail)? {
        let known = MapInfo::from_pin(path);
        if !known.is_ok_and(|map| (map.key_size(), map.value_size()) == (KEY_SIZE, VALUE_SIZE)) {
            fs::remove_file(path).map_err(fail)?;
        }
    }
    Ok(Some(path))
}

/// Loads the program; its counters are pinned, or taken from there, where that can be.
fn load(pin: Option<&Path>) -> Result<(Ebpf, bool), CountError> {
    let mut loader = EbpfLoader::new();
    loader.btf(None); // nothing in the program depends on the kernel's own types
    if let Some(pin) = pin {
        loader.map_pin_path(COUNTS, pin);
    }
    match loader.load(OBJECT) {
        Err(error) if pin.is_some() && system_error(&error).is_some_and(|error| unwritable(&error)) => load(None),
        loaded => Ok((loaded.map_err(CountError::load)?, pin.is_some())),
    }
}

/// The map's number and a descriptor of it. The kernel numbers maps, and no two of a boot alike.
fn identify(map: &Map) -> Result<(u32, OwnedFd), CountError> {
    let Map::PerCpuHashMap(data) = map else {
        return Err(CountError::map(COUNTS)(MapError::ElementNotFound));
    };
    let id = data.info().map_err(CountError::map(COUNTS))?.id();
    let descriptor = data.fd().as_fd().try_clone_to_owned().map_err(CountError::Read)?;
    Ok((id, descriptor))
}

/// Sets the filter, or puts the new program in the place of the one that an earlier process set.
fn attach(ebpf: &mut Ebpf, interface: &str, (name, hook): (&str, TcAttachType)) -> Result<(), CountError> {
    let refused = |error: ProgramError| match code(&error) {
        Some(number @ (libc::EPERM | libc::EACCES)) => CountError::NotPermitted(io::Error::from_raw_os_error(number)),
        _ => CountError::Attach {
            interface: interface.into(),
            source: Box::new(error),
        },
    };
    match tc::qdisc_add_clsact(interface) {
        Err(error) if code(&error) != Some(libc::EEXIST) => return Err(refused(error.into())),
        _ => {}
    }
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotAttached).map_err(refused)?;
    let program: &mut SchedClassifier = program.try_into().map_err(refused)?;
    program.load().map_err(CountError::load)?;
    let options = NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        classid: None,
    };
    let attached = match program.attach_with_options(interface, hook, TcAttachOptions::Netlink(options)) {
        Err(error) if code(&error) == Some(libc::EEXIST) => {
            let standing = SchedClassifierLink::attached(interface, hook, PRIORITY, HANDLE, None);
            let standing = standing.map_err(|error| refused(ProgramError::IOError(error)))?;
            program.attach_to_link(standing)
        }
        result => result,
    };
    let link = attached.and_then(|id| program.take_link(id)).map_err(refused)?;
    // Dropping it would remove the filter.
    std::mem::forget(link);
    Ok(())
}

fn code(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    system_error(error)?.raw_os_error()
}
