//! Members' files, imports, and the file that `init` writes.

mod common;

use common::{A, B, config, full, plan, talk};
use fielato_policy::MachineFacts;
use fielato_policy::config::Route;
use fielato_policy::import::{ImportError, import};
use fielato_policy::init::template;
use fielato_policy::render::wg_quick::{Secrets, allowed_ips, hub_config, member_config};
use fielato_wireguard::{PresharedKey, PrivateKey, PublicKey, WgQuick};

const HUB: PublicKey = PublicKey([5; 32]);

fn facts() -> MachineFacts {
    MachineFacts {
        interface: "wg0".to_owned(),
        endpoint: "10.0.123.2".to_owned(),
        listen_port: 51820,
        uplink: "eth0".to_owned(),
        addresses: vec!["192.168.4.1/24".parse().unwrap(), "fd00:4::1/64".parse().unwrap()],
        source: vec!["10.0.123.2".parse().unwrap()],
    }
}

fn texts(nets: &[ipnet::IpNet]) -> Vec<String> {
    nets.iter().map(ToString::to_string).collect()
}

#[test]
fn a_members_file() {
    let secrets = Secrets {
        private_key: Some(PrivateKey([1; 32])),
        psk: Some(PresharedKey([2; 32])),
    };
    let member = member_config(&config(&full()), "alice", secrets, HUB, None).unwrap();
    assert_eq!(
        member.file.emit(),
        "[Interface]
# Name = alice
PrivateKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
Address = 192.168.4.2/32, fd00:4::2/128
DNS = 9.9.9.9
MTU = 1420

[Peer]
# the hub
PublicKey = BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=
PresharedKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
AllowedIPs = 192.168.4.0/24, fd00:4::/64, 10.0.123.4/32, 2001:db8::4/128, 10.0.124.0/24
Endpoint = vpn.example.org:51820
PersistentKeepalive = 25
"
    );
    assert_eq!(member.warnings, Vec::<String>::new());
    assert_eq!(WgQuick::parse(&member.file.emit()).unwrap(), member.file);
}

#[test]
fn routes() {
    let config = config(&full());
    assert_eq!(texts(&allowed_ips(&config, &Route::All)), ["0.0.0.0/0", "::/0"]);
    let prefixes = Route::Prefixes(vec!["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(
        texts(&allowed_ips(&config, &prefixes)),
        ["192.168.4.0/24", "fd00:4::/64", "10.0.0.0/8"]
    );
    // --split overrides what the file says.
    let whole = member_config(&config, "bob", Secrets::default(), HUB, None).unwrap();
    assert_eq!(texts(&whole.file.peers[0].allowed_ips), ["0.0.0.0/0", "::/0"]);
    let split = member_config(&config, "bob", Secrets::default(), HUB, Some(true)).unwrap();
    assert_eq!(split.file.peers[0].allowed_ips, allowed_ips(&config, &Route::Lab));
    assert!(member_config(&config, "nobody", Secrets::default(), HUB, None).is_none());
}

#[test]
fn a_key_that_never_left_the_member_is_read_from_its_file() {
    let member = member_config(&config(&talk()), "client-a", Secrets::default(), HUB, None).unwrap();
    assert_eq!(member.file.interface.post_up, ["wg set %i private-key /etc/wireguard/%i.key"]);
    assert!(!member.file.emit().contains("PrivateKey"));
}

#[test]
fn a_network_around_the_endpoint_is_warned_of() {
    let text = talk().replace("# wireguard-go", "\nroute = [\"10.0.0.0/8\"]");
    let member = member_config(&config(&text), "client-a", Secrets::default(), HUB, None).unwrap();
    assert_eq!(member.warnings.len(), 1);
    assert!(
        member.warnings[0].starts_with("10.0.0.0/8 contains the hub's own address 10.0.123.2"),
        "{:?}",
        member.warnings
    );
    let all = member_config(&config(&text), "client-a", Secrets::default(), HUB, Some(false)).unwrap();
    assert_eq!(all.warnings, Vec::<String>::new());
}

#[test]
fn wg_quick_strips_our_files() {
    let with_key = Secrets {
        private_key: Some(PrivateKey([1; 32])),
        psk: Some(PresharedKey([2; 32])),
    };
    let files = [
        member_config(&config(&full()), "alice", with_key, HUB, None).unwrap().file,
        member_config(&config(&full()), "bob", Secrets::default(), HUB, None)
            .unwrap()
            .file,
        hub_config(&plan(&full()), "/etc/fielato/keys/wg0.key"),
    ];
    let dir = std::env::temp_dir().join(format!("fielato-strip-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("wgtest.conf");
    let mut outputs = Vec::new();
    for file in files {
        std::fs::write(&path, file.emit()).unwrap();
        outputs.push((std::process::Command::new("wg-quick").arg("strip").arg(&path).output(), file));
    }
    std::fs::remove_dir_all(&dir).unwrap();
    for (output, file) in outputs {
        let Ok(output) = output else {
            fielato_testkit::skip("wg_quick_strips_our_files", "wg-quick is not installed");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("[Peer]") && !text.contains("Address"), "{text}");
        assert_eq!(text.matches("PublicKey").count(), file.peers.len());
    }
}

#[test]
fn the_hubs_file_has_no_secrets() {
    let text = hub_config(&plan(&full()), "/etc/fielato/keys/wg0.key").emit();
    assert!(
        text.contains("PostUp = wg set %i private-key /etc/fielato/keys/wg0.key\n"),
        "{text}"
    );
    assert!(!text.contains("PrivateKey =") && !text.contains("PresharedKey ="), "{text}");
}

fn wg_quick_hub() -> String {
    format!(
        "[Interface]
PrivateKey = AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=
Address = 10.8.0.1/24, fd08::1/64
ListenPort = 51821
MTU = 1380
PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o ens3 -j MASQUERADE
PostUp = echo hello
PostDown = iptables -D FORWARD -i %i -j ACCEPT

### Client alice
[Peer]
PublicKey = {A}
PresharedKey = BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=
AllowedIPs = 10.8.0.2/32, fd08::2/128, 10.20.0.0/16

[Peer]
PublicKey = {B}
AllowedIPs = 10.8.0.3/32
PersistentKeepalive = 25

# hub
[Peer]
PublicKey = BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY=
AllowedIPs = 10.99.0.3/32
"
    )
}

#[test]
fn an_existing_hub_is_imported() {
    let imported = import(&WgQuick::parse(&wg_quick_hub()).unwrap(), "wg1", &facts()).unwrap();
    let config = config(&imported.toml);
    assert_eq!((config.hub.interface.as_str(), config.hub.uplink.as_str()), ("wg1", "ens3"));
    assert_eq!(
        (config.hub.listen_port, config.hub.mtu, config.hub.masquerade),
        (51821, 1380, true)
    );
    assert_eq!(texts(&config.hub.addresses), ["10.8.0.1/24", "fd08::1/64"]);
    assert_eq!(config.members.keys().collect::<Vec<_>>(), ["alice", "member-2"]);
    assert_eq!(config.members["member-2"].keepalive, Some(25));
    assert_eq!(config.rules.len(), 1);
    assert_eq!(imported.psks, [("alice".to_owned(), PresharedKey([4; 32]))]);
    assert_eq!(imported.hub_private_key, PrivateKey([3; 32]));
    for secret in [PrivateKey([3; 32]).to_base64(), PrivateKey([4; 32]).to_base64()] {
        assert!(wg_quick_hub().contains(&secret));
        assert!(!imported.toml.contains(&secret) && !imported.notes.concat().contains(&secret));
    }
    let noted = |what: &str| {
        assert!(
            imported.notes.iter().any(|note| note.contains(what)),
            "{what}: {:?}",
            imported.notes
        )
    };
    noted("not carried over and not run: echo hello");
    noted("since fielato does it itself: iptables -A FORWARD");
    noted("alice: 10.20.0.0/16 in AllowedIPs is not carried over");
    noted("member-3 has no address in the overlay and stands as a comment");
    noted("PreDown and PostDown");
}

#[test]
fn imports_that_cannot_be() {
    let without = |line: &str| {
        let text: String = wg_quick_hub()
            .lines()
            .filter(|one| !one.starts_with(line))
            .flat_map(|one| [one, "\n"])
            .collect();
        import(&WgQuick::parse(&text).unwrap(), "wg1", &facts())
    };
    assert_eq!(without("PrivateKey"), Err(ImportError::NoPrivateKey));
    assert_eq!(without("Address"), Err(ImportError::NoAddress));
    assert!(!config(&without("PostUp").unwrap().toml).hub.masquerade);
    let twice = wg_quick_hub().replace("10.8.0.3/32", "10.8.0.2/32");
    assert!(matches!(
        import(&WgQuick::parse(&twice).unwrap(), "wg1", &facts()),
        Err(ImportError::Invalid { .. })
    ));
}

#[test]
fn our_own_hub_file_comes_back() {
    let mut file = hub_config(&plan(&full()), "/etc/fielato/keys/wg0.key");
    file.interface.private_key = Some(PrivateKey([3; 32]));
    let imported = import(&file, "wg0", &facts()).unwrap();
    let (ours, theirs) = (config(&full()), config(&imported.toml));
    for (name, member) in &theirs.members {
        assert_eq!(
            (&member.addresses, member.public_key),
            (&ours.members[name].addresses, ours.members[name].public_key)
        );
    }
    assert_eq!(theirs.members.len(), 2);
}

/// The line without its comment sign when it is an example; prose has no ` = ` behind one word.
fn example(line: &str) -> &str {
    let is_key = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => rest,
        _ => line,
    }
}

#[test]
fn the_template_parses_and_so_do_its_examples() {
    let text = template(&facts());
    assert_eq!(config(&text).members.len(), 0);
    let examples: String = text.lines().map(example).flat_map(|line| [line, "\n"]).collect();
    let examples = examples.replace("44 characters of base64, as wg pubkey prints them", A);
    let config = config(&examples);
    assert_eq!(
        (
            config.members.len(),
            config.hosts.len(),
            config.services.len(),
            config.rules.len()
        ),
        (1, 1, 1, 1)
    );
    assert_eq!((config.shapes.len(), config.bans.len(), config.hub.lab.len()), (2, 1, 1));
    // Also for a machine of which less is known.
    let bare = MachineFacts {
        source: Vec::new(),
        endpoint: "2001:db8::7".to_owned(),
        ..facts()
    };
    assert_eq!(common::config(&template(&bare)).hub.endpoint.host, "2001:db8::7");
}
