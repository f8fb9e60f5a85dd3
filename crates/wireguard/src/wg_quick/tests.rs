use super::*;

fn key(id: u8) -> String {
    PublicKey([id; 32]).to_string()
}

#[test]
fn emit_and_parse_are_inverse() {
    let mut alice = Peer::new(PublicKey([1; 32]));
    alice.comments = vec!["alice".to_owned(), "her laptop".to_owned()];
    alice.preshared_key = Some(PresharedKey([7; 32]));
    alice.allowed_ips = vec!["192.168.4.2/32".parse().unwrap(), "fd00:4::2/128".parse().unwrap()];
    alice.endpoint = Some("[2001:db8::7]:51820".to_owned());
    alice.persistent_keepalive = Some(25);
    let file = WgQuick {
        interface: Interface {
            comments: vec!["the hub".to_owned()],
            private_key: Some(PrivateKey([9; 32])),
            addresses: vec!["192.168.4.1/24".parse().unwrap(), "fd00:4::1/64".parse().unwrap()],
            dns: vec!["9.9.9.9".to_owned(), "example.org".to_owned()],
            mtu: Some(1420),
            table: Some("off".to_owned()),
            listen_port: Some(51820),
            fwmark: Some(51),
            pre_up: vec!["echo 1".to_owned()],
            post_up: vec!["echo 2".to_owned(), "echo a=b".to_owned()],
            pre_down: vec!["echo 3".to_owned()],
            post_down: vec!["echo 4".to_owned()],
            save_config: Some(false),
        },
        peers: vec![alice, Peer::new(PublicKey([2; 32]))],
    };
    let text = file.emit();
    assert_eq!(WgQuick::parse(&text).unwrap(), file);
    assert_eq!(WgQuick::parse(&text).unwrap().emit(), text);
}

#[test]
fn keys_in_any_case_and_values_with_little_or_much_space() {
    let text = format!(
        "[interface]\naddress=10.0.0.1\nADDRESS = fd00::1/64\nFwMark = 0xca6c\n\n[PEER]\npublickey={}\nAllowedIPs=10.0.0.2/32,fd00::2\nPersistentKeepalive = off\n",
        key(1)
    );
    let file = WgQuick::parse(&text).unwrap();
    assert_eq!(
        file.interface.addresses,
        ["10.0.0.1/32".parse().unwrap(), "fd00::1/64".parse().unwrap()]
    );
    assert_eq!(file.interface.fwmark, Some(0xca6c));
    assert_eq!(
        file.peers[0].allowed_ips,
        ["10.0.0.2/32".parse().unwrap(), "fd00::2/128".parse().unwrap()]
    );
    assert_eq!(file.peers[0].persistent_keepalive, None);
}

#[test]
fn names_from_comments() {
    let cases = [
        ("# alice\n[Peer]", "", Some("alice")),
        ("### Client alice\n[Peer]", "", Some("alice")),
        ("[Peer]\n# Name = alice", "", Some("alice")),
        ("[Peer]\n# friendly_name=alice", "", Some("alice")),
        ("[Peer] # alice", "", Some("alice")),
        ("[Peer]", " # alice", Some("alice")),
        ("# a laptop of the second floor\n[Peer]\n# Name = alice", "", Some("alice")),
        ("# a laptop of the second floor\n[Peer]", "", None),
        ("[Peer]", "", None),
    ];
    for (header, behind, name) in cases {
        let text = format!(
            "[Interface]\nListenPort = 1\n\n{header}\nPublicKey = {}\nAllowedIPs = 10.0.0.2/32{behind}\n",
            key(1)
        );
        let file = WgQuick::parse(&text).unwrap();
        assert_eq!(file.peers[0].name(), name, "{text}");
    }
}

#[test]
fn a_comment_between_two_peers_names_the_second() {
    let text = format!(
        "[Interface]\n# alice\n[Peer]\nPublicKey = {}\n\n# bob\n[Peer]\nPublicKey = {}\n",
        key(1),
        key(2)
    );
    let file = WgQuick::parse(&text).unwrap();
    assert_eq!(
        file.peers.iter().map(|peer| peer.name()).collect::<Vec<_>>(),
        [Some("alice"), Some("bob")]
    );
}

#[test]
fn refusals_name_the_line_and_never_the_value() {
    let cases = [
        ("", 1, "there is no [Interface]: not a wg-quick file"),
        ("ListenPort = 1\n", 1, "a value before the first [Section]"),
        ("[Interface]\nColour = red\n", 2, "unknown key Colour in [Interface]"),
        (
            "[Interface]\n[Peer]\nAddress = 10.0.0.1\n",
            3,
            "unknown key Address in [Peer]",
        ),
        (
            "[Interface]\nPrivateKey = c2VjcmV0\n",
            2,
            "PrivateKey: a key has 32 bytes (44 characters of base64), this one has 6 bytes",
        ),
        (
            "[Interface]\nListenPort = 70000\n",
            2,
            "ListenPort has a value that it cannot have",
        ),
        (
            "[Interface]\nAddress = 10.0.0.300\n",
            2,
            "Address has something that is not an address or a network",
        ),
        (
            "[Interface]\n\n[Peer]\nEndpoint = a:1\n",
            4,
            "the [Peer] before this line has no PublicKey",
        ),
        ("[Interface]\nsecret\n", 2, "expected KEY = VALUE or a [Section]"),
        ("[Interface]\n[Interface]\n", 2, "a second [Interface]; a file has one"),
        ("[Network]\n", 1, "unknown section; a file has [Interface] and [Peer]"),
    ];
    for (text, line, message) in cases {
        let error = WgQuick::parse(text).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (line, message), "{text:?}");
    }
}
