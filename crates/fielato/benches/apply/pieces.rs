//! The parts of an apply one by one, in this process.

use fielato_control::secrets::PskStore;
use fielato_control::tunnel::{Choice, Tunnel};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::nft::element::{self, Action, Change};
use fielato_kernel::{address, link, nft};
use fielato_policy::edit::{NewMember, add_member};
use fielato_policy::{Circumstances, Config, Plan, render};
use fielato_wireguard::{DeviceConfig, PeerConfig, PrivateKey, PublicKey};
use jiff::Timestamp;

use crate::hub::{Bench, inside};
use crate::{Result, Rows};

pub fn measure(members: usize, rows: &mut Rows) -> Result<()> {
    let bench = Bench::new(members)?;
    let text = std::fs::read_to_string(bench.paths.config())?;
    let now = Timestamp::now();
    let config = rows.time(members, "part: parse", || Ok(Config::parse(&text)?))?;
    let plan = rows.time(members, "part: compile", || {
        Ok(Plan::compile(&config, &Circumstances::at(now, Default::default())))
    })?;
    let mut psks = PskStore::default();
    rows.time(members, "part: read pre-shared keys", || Ok(psks.refresh(&bench.paths)?))?;
    rows.time(members, "part: look for changed pre-shared keys", || {
        Ok(psks.refresh(&bench.paths)?)
    })?;
    let rules = rows.time(members, "part: write nft text", || Ok(render::nft::hub(&plan.firewall)))?;
    let mut grown = config.clone();
    let (edited, _) = add_member(&text, &NewMember::new("new", PublicKey([255; 32])))?;
    rows.time(members, "part: parse one member added", || {
        let insertion = grown.insertion(&text, &edited).ok_or("not seen as an insertion")?;
        grown.insert(&insertion);
        Ok(())
    })?;
    let more = Plan::compile(&grown, &Circumstances::at(now, Default::default()));
    let steps = rows.time(members, "part: rules compared", || {
        Ok(render::nft::update(&plan.firewall, &more.firewall).ok_or("not seen as elements")?)
    })?;
    let steps: Vec<Change> = steps
        .iter()
        .map(|step| Change {
            set: step.set.clone(),
            interval: false,
            action: if step.add { Action::Add } else { Action::Delete },
            element: step.address.into(),
            value: None,
        })
        .collect();

    rows.time(members, "part: nft loads the text", || {
        inside(&bench.hub, || Ok(nft::apply(&rules)?))
    })?;
    rows.time(members, "part: elements of one member added", || {
        inside(&bench.hub, || Ok(element::change(nft::Family::Inet, "fielato", &steps)?))
    })?;
    let device = device_config(&plan, &psks)?;
    let tunnel = rows.time(members, "part: interface and peers", || {
        inside(&bench.hub, || {
            Ok(Tunnel::create(
                &mut Netlink::open()?,
                Choice::Auto,
                &plan.interface,
                plan.mtu,
                &device,
            )?)
        })
    })?;
    rows.time(members, "part: addresses, interface up", || {
        inside(&bench.hub, || {
            let mut netlink = Netlink::open()?;
            let link = link::get(&mut netlink, &plan.interface)?;
            for &own in &plan.addresses {
                address::add(&mut netlink, link.index, own)?;
            }
            Ok(link::set_up(&mut netlink, &link, true)?)
        })
    })?;
    inside(&bench.hub, || Ok(tunnel.remove(&mut Netlink::open()?)?))
}

/// Who encrypts on this machine: `kernel` or `userspace`.
pub fn wireguard_kind() -> Result<&'static str> {
    let hub = NetnsGuard::create(&fielato_testkit::unique("fielato-bench-kind"))?;
    let device = DeviceConfig {
        private_key: PrivateKey::generate()?,
        listen_port: 0,
        fwmark: 0,
        peers: Vec::new(),
    };
    inside(&hub, || {
        let mut netlink = Netlink::open()?;
        let name = fielato_testkit::unique("fb");
        let tunnel = Tunnel::create(&mut netlink, Choice::Auto, &name, 1420, &device)?;
        let kind = tunnel.kind();
        tunnel.remove(&mut netlink)?;
        Ok(kind)
    })
}

fn device_config(plan: &Plan, psks: &PskStore) -> Result<DeviceConfig> {
    let peers = plan.peers.iter().map(|peer| PeerConfig {
        public_key: peer.public_key,
        preshared_key: psks.get(&peer.name).cloned(),
        endpoint: None,
        persistent_keepalive: None,
        allowed_ips: peer.allowed_ips.clone(),
    });
    Ok(DeviceConfig {
        private_key: PrivateKey::generate()?,
        listen_port: plan.listen_port,
        fwmark: 0,
        peers: peers.collect(),
    })
}
