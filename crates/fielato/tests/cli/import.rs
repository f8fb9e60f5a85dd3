//! An existing wg-quick hub is taken over, and comes out again as the same hub.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::common::{KEY_A, KEY_B, Pair, can_run, values};

const HUB_KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PSK: &str = "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak=";

fn wg_quick() -> String {
    format!(
        "[Interface]\n\
         Address = 10.66.0.1/24, fd66::1/64\n\
         ListenPort = 51900\n\
         PrivateKey = {HUB_KEY}\n\
         PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE\n\
         PostUp = /usr/local/bin/tell-everybody up\n\
         PostDown = iptables -D FORWARD -i %i -j ACCEPT; iptables -t nat -D POSTROUTING -o eth0 -j MASQUERADE\n\n\
         # alice\n\
         [Peer]\n\
         PublicKey = {KEY_A}\n\
         PresharedKey = {PSK}\n\
         AllowedIPs = 10.66.0.2/32, fd66::2/128\n\n\
         # Bob's telephone\n\
         [Peer]\n\
         PublicKey = {KEY_B}\n\
         AllowedIPs = 10.66.0.3/32\n\
         PersistentKeepalive = 25\n"
    )
}

/// Public key to allowed networks.
fn peers(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    text.split("[Peer]")
        .skip(1)
        .map(|peer| {
            (
                values(peer, "PublicKey")[0].clone(),
                BTreeSet::from_iter(values(peer, "AllowedIPs")),
            )
        })
        .collect()
}

#[test]
fn a_hub_comes_out_as_it_went_in() {
    if !can_run("import::a_hub_comes_out_as_it_went_in") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    fs::remove_dir_all(hub.config_path().parent().unwrap()).unwrap();
    let file = hub.root().join(format!("{}.conf", hub.interface));
    fs::write(&file, wg_quick()).unwrap();
    let file = file.display();

    let shown = hub.fielato(&format!("import {file} --dry-run"));
    assert!(
        shown.err.contains("tell-everybody"),
        "what is not carried over is told: {}",
        shown.err
    );
    let toml = shown.ok();
    assert!(!hub.config_path().exists());

    hub.fielato(&format!("import {file}")).ok();
    assert_eq!(hub.config(), toml);
    assert!(
        toml.contains("[member.alice]") && toml.contains("masquerade = true"),
        "{toml}"
    );
    for secret in [HUB_KEY, PSK] {
        assert!(!toml.contains(secret) && !hub.said().contains(secret));
    }
    for (name, secret) in [(format!("{}.key", hub.interface), HUB_KEY), ("members/alice.psk".into(), PSK)] {
        let path = hub.key(&name);
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), secret);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }

    let again = hub.fielato("render hub --format wg-quick").ok();
    assert_eq!(peers(&again), peers(&wg_quick()));
    assert_eq!(values(&again, "ListenPort"), ["51900"]);
    assert_eq!(
        BTreeSet::from_iter(values(&again, "Address")),
        BTreeSet::from_iter(values(&wg_quick(), "Address"))
    );
    assert!(!again.contains(HUB_KEY) && !again.contains(PSK), "render shows no secrets");

    // And it runs: the peers of the interface are those of the file, with the key that was there.
    hub.fielato("up --wireguard userspace").ok();
    let dump = hub.sh(&format!("wg show {} dump", hub.interface)).ok();
    assert!(dump.contains(KEY_B) && dump.contains(PSK) && dump.contains("51900"), "{dump}");

    let told = hub.fielato(&format!("import {file}")).fails(1);
    assert!(told.contains("exists and is not overwritten"), "{told}");
}

#[test]
fn what_is_no_hub_is_refused() {
    if !can_run("import::what_is_no_hub_is_refused") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    fs::remove_dir_all(hub.config_path().parent().unwrap()).unwrap();
    let file = hub.root().join(format!("{}.conf", hub.interface));
    for (text, words) in [
        (wg_quick().replace("PrivateKey", "#"), "no PrivateKey"),
        (wg_quick().replace("Address", "#"), "no Address"),
        (wg_quick().replace("ListenPort", "LissenPort"), "LissenPort"),
        (wg_quick().replace(HUB_KEY, "c2hvcnQ="), "key"),
    ] {
        fs::write(&file, text).unwrap();
        let told = hub.fielato(&format!("import {}", file.display())).fails(1);
        assert!(told.contains(words), "{words}: {told}");
        assert!(!told.contains(HUB_KEY) && !told.contains(PSK), "{told}");
        assert!(!hub.config_path().exists());
    }
}
