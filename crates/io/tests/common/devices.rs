//! Our devices, made by their own interface.

use fielato_io::Device;
use fielato_wireguard::{DeviceConfig, DropReason, PeerConfig, PrivateKey, PublicKey};

use super::{Namespace, cable, keys, raise, unique};

pub const PORT: u16 = 51820;

/// Overlay host `host` as a peer.
pub fn peer(public_key: PublicKey, host: u8, endpoint: Option<&str>) -> PeerConfig {
    PeerConfig {
        public_key,
        preshared_key: None,
        endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
        persistent_keepalive: None,
        allowed_ips: vec![
            format!("10.8.0.{host}/32").parse().unwrap(),
            format!("fd08::{host}/128").parse().unwrap(),
        ],
    }
}

pub fn config(private_key: &PrivateKey, peers: Vec<PeerConfig>) -> DeviceConfig {
    DeviceConfig {
        private_key: private_key.clone(),
        listen_port: PORT,
        fwmark: 0,
        peers,
    }
}

pub fn create(namespace: &Namespace, config: &DeviceConfig) -> (Device, String) {
    let name = unique("w");
    let device = namespace.within(|| Device::create(&name, 1420, config)).unwrap();
    (device, name)
}

pub fn dropped(device: &Device, reason: DropReason) -> u64 {
    device.drops().into_iter().find(|(at, _)| *at == reason).unwrap().1
}

/// Two of our devices that know each other.
pub fn ours() -> (Namespace, Namespace, Device, Device, PrivateKey, PrivateKey) {
    let (a, b) = cable();
    let ((a_key, a_public), (b_key, b_public)) = (keys(), keys());
    let (a_device, a_name) = create(&a, &config(&a_key, vec![peer(b_public, 2, Some("10.9.0.2:51820"))]));
    let (b_device, b_name) = create(&b, &config(&b_key, vec![peer(a_public, 1, None)]));
    raise(&a, &a_name, 1);
    raise(&b, &b_name, 2);
    (a, b, a_device, b_device, a_key, b_key)
}
