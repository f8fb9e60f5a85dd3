//! `fielato init` and `fielato import`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use fielato_control::{Paths, files, secrets};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::{address, detect, link};
use fielato_policy::facts::MachineFacts;
use fielato_policy::{Config, import, init};
use fielato_wireguard::PrivateKey;
use fielato_wireguard::wg_quick::WgQuick;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::cli::{Import, Init};

/// WireGuard's customary port.
const PORT: u16 = 51820;

/// `fielato init`
pub fn init(paths: &Paths, args: Init, rootless: bool) -> Result<()> {
    refuse_existing(paths)?;
    let machine = Machine::look(args.uplink)?;
    let overlays = match args.overlay.is_empty() {
        true => vec![machine.free_v4_overlay()?, random_v6_overlay()?],
        false => args.overlay,
    };
    let facts = machine.facts(args.interface, args.endpoint, PORT, overlays)?;
    let text = init::template(&facts);
    check(&text, paths)?;
    ensure_folder(paths)?;
    let key_path = paths.hub_key(&facts.interface);
    if !key_path.exists() {
        secrets::create(
            &key_path,
            &PrivateKey::generate()
                .context("the system has no randomness to give")?
                .to_base64(),
        )?;
    }
    write_new(paths, &text)?;
    println!("wrote {} and {}", paths.config().display(), key_path.display());
    println!(
        "members reach this machine at {}, UDP port {}, by the uplink {}",
        facts.endpoint, facts.listen_port, facts.uplink
    );
    let up = if rootless { "fielato up --rootless" } else { "fielato up" };
    println!("next: read the file, `fielato member add NAME`, `{up}`");
    Ok(())
}

/// `fielato import FILE`
pub fn import(paths: &Paths, args: Import) -> Result<()> {
    if !args.dry_run {
        refuse_existing(paths)?;
    }
    let file = args.file.display();
    let text = fs::read_to_string(&args.file).with_context(|| format!("cannot read {file}"))?;
    let quick = WgQuick::parse(&text).with_context(|| format!("{file} is not a wg-quick file"))?;
    let interface = args
        .file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .context("the file has no name to call the interface by")?;
    let port = quick.interface.listen_port.unwrap_or(PORT);
    let facts = Machine::look(None)?.facts(interface.into(), args.endpoint, port, quick.interface.addresses.clone())?;
    let imported = import::import(&quick, interface, &facts)?;
    check(&imported.toml, paths)?;
    if args.dry_run {
        print!("{}", imported.toml);
    } else {
        ensure_folder(paths)?;
        // First the one that may be there, so that nothing is written when it is.
        secrets::create(&paths.hub_key(interface), &imported.hub_private_key.to_base64())?;
        for (name, psk) in &imported.psks {
            secrets::create(&paths.member_psk(name), &psk.to_base64())?;
        }
        write_new(paths, &imported.toml)?;
    }
    for note in &imported.notes {
        eprintln!("note: {note}");
    }
    if !args.dry_run {
        println!(
            "wrote {}; next: read it, `wg-quick down {interface}`, `fielato up`",
            paths.config().display()
        );
    }
    Ok(())
}

fn refuse_existing(paths: &Paths) -> Result<()> {
    match paths.config().exists() {
        true => bail!(
            "{} exists and is not overwritten; edit it, or move it away first",
            paths.config().display()
        ),
        false => Ok(()),
    }
}

/// What we wrote ourselves has to pass our own check.
fn check(text: &str, paths: &Paths) -> Result<()> {
    let path = paths.config();
    match Config::parse(text) {
        Ok(_) => Ok(()),
        Err(faults) => bail!(
            "what was found on this machine makes no valid configuration:\n{}",
            faults.display(&path.display().to_string(), text)
        ),
    }
}

/// Before the folder of keys, which would make this one as private as it is itself.
fn ensure_folder(paths: &Paths) -> Result<()> {
    paths.config().parent().map_or(Ok(()), files::ensure_readable_dir)
}

fn write_new(paths: &Paths, text: &str) -> Result<()> {
    files::create_new(&paths.config(), text.as_bytes(), 0o644)
}

/// What can be seen of this machine.
struct Machine {
    uplink: String,
    /// The uplink's global addresses.
    source: Vec<IpAddr>,
    /// The networks that this machine is in already.
    networks: Vec<IpNet>,
}

impl Machine {
    fn look(uplink: Option<String>) -> Result<Self> {
        let mut netlink = Netlink::open()?;
        let detected = detect::detect(&mut netlink)?;
        let addresses = address::list(&mut netlink)?;
        let networks = addresses.iter().map(|known| known.address.trunc()).collect();
        let uplink = match uplink {
            Some(name) => {
                let index = link::get(&mut netlink, &name)?.index;
                let own = addresses
                    .iter()
                    .filter(|known| known.index == index && known.global && known.usable);
                return Ok(Self {
                    uplink: name,
                    source: own.map(|known| known.address.addr()).collect(),
                    networks,
                });
            }
            None => detected
                .uplink
                .context("there is no default route to tell which interface leads outside; name it with --uplink")?,
        };
        let source = detected.v4.iter().chain(&detected.v6).map(IpNet::addr).collect();
        Ok(Self {
            uplink,
            source,
            networks,
        })
    }

    /// `endpoint` is `HOST:PORT`, as given; else the uplink's first address and `port`.
    fn facts(self, interface: String, endpoint: Option<String>, port: u16, overlays: Vec<IpNet>) -> Result<MachineFacts> {
        let (host, listen_port) = match (endpoint, self.source.first()) {
            (Some(endpoint), _) => split_endpoint(&endpoint)?,
            (None, Some(address)) => (address.to_string(), port),
            (None, None) => bail!(
                "{} has no address; say with --endpoint where members reach this machine",
                self.uplink
            ),
        };
        let one = |v4: bool| self.source.iter().find(move |address| address.is_ipv4() == v4).copied();
        let source = [one(true), one(false)].into_iter().flatten().collect();
        let addresses = overlays.into_iter().map(hub_address).collect();
        Ok(MachineFacts {
            interface,
            endpoint: host,
            listen_port,
            uplink: self.uplink,
            addresses,
            source,
        })
    }

    /// A private /24 that no address of this machine is in.
    fn free_v4_overlay(&self) -> Result<IpNet> {
        let candidates = (4..=254u8).filter_map(|third| Ipv4Net::new(Ipv4Addr::new(192, 168, third, 0), 24).ok());
        let mut free = candidates
            .map(IpNet::V4)
            .filter(|net| !self.networks.iter().any(|known| known.contains(net) || net.contains(known)));
        free.next()
            .context("every 192.168.x.0/24 is taken on this machine; choose a network with --overlay")
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
fn split_endpoint(endpoint: &str) -> Result<(String, u16)> {
    let (host, port) = endpoint.rsplit_once(':').unwrap_or((endpoint, ""));
    let port = port.parse().ok().filter(|&port| port != 0);
    let port = port.with_context(|| format!("--endpoint {endpoint}: say HOST:PORT, for instance vpn.example.org:{PORT}"))?;
    Ok((host.trim_matches(['[', ']']).into(), port))
}

/// The network's first address, unless an address of it was given.
fn hub_address(net: IpNet) -> IpNet {
    match net {
        IpNet::V4(net) if net.addr() == net.network() => {
            let first = Ipv4Addr::from(u32::from(net.network()).saturating_add(1));
            Ipv4Net::new(first, net.prefix_len()).map_or(net, |first| first).into()
        }
        IpNet::V6(net) if net.addr() == net.network() => {
            let first = Ipv6Addr::from(u128::from(net.network()).saturating_add(1));
            Ipv6Net::new(first, net.prefix_len()).map_or(net, |first| first).into()
        }
        net => net,
    }
}

/// RFC 4193 section 3.2: a unique local /64 from 40 random bits.
fn random_v6_overlay() -> Result<IpNet> {
    let random = PrivateKey::generate()
        .context("the system has no randomness to give")?
        .public_key()
        .0;
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&random[..5]);
    Ok(Ipv6Net::new(octets.into(), 64)?.into())
}
