//! iptables-translate and iptables-restore-translate.

mod common;

use fielato_iptables::program::{Applet, run};
use fielato_iptables::{BuiltinNames, Registry};

use common::Machine;

/// Exit code, standard output and standard error.
fn translate(line: &str, input: &str) -> (u8, String, String) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut machine = Machine {
        input: input.to_owned(),
        ..Machine::default()
    };
    let applet = Applet::find(words[0]).unwrap();
    let code = run(
        applet,
        words[0],
        &words[1..],
        &Registry::builtin(),
        &BuiltinNames,
        &mut machine,
    );
    (code, machine.out, machine.err)
}

#[test]
fn commands() {
    for (line, expected) in [
        (
            "iptables-translate -A INPUT -p tcp --dport 22 -j ACCEPT",
            "nft 'add rule ip filter INPUT tcp dport 22 counter accept'\n",
        ),
        (
            "ip6tables-translate -I FORWARD 3 -s fe80::/10",
            "nft 'insert rule ip6 filter FORWARD index 2 ip6 saddr fe80::/10 counter'\n",
        ),
        (
            "iptables-translate -A INPUT -s 10.0.0.1,10.0.0.2 -j DROP",
            "nft 'add rule ip filter INPUT ip saddr 10.0.0.1 counter drop'\nnft 'add rule ip filter INPUT ip saddr 10.0.0.2 counter drop'\n",
        ),
        (
            "iptables-translate -A INPUT -p tcp --syn -m connlimit --connlimit-above 2 -j DROP",
            "nft 'add set ip filter connlimit0 { type ipv4_addr; flags dynamic; size 65535; }'\n\
             nft 'add rule ip filter INPUT tcp flags & (fin | syn | rst | ack) == syn add @connlimit0 { ip saddr ct count over 2 } counter drop'\n",
        ),
        ("iptables-translate -t nat -F", "nft flush table ip nat\n"),
        ("ip6tables-translate -F INPUT", "nft flush chain ip6 filter INPUT\n"),
        ("iptables-translate -N log", "nft add chain ip filter xt.log\n"),
        ("iptables-translate -X web", "nft delete chain ip filter web\n"),
        (
            "iptables-translate -P FORWARD DROP",
            "nft 'add chain ip filter FORWARD { policy drop; }'\n",
        ),
        ("iptables-translate -L", "nft list table ip filter\n"),
    ] {
        assert_eq!(translate(line, ""), (0, expected.to_owned(), String::new()), "{line}");
    }
}

#[test]
fn what_cannot_be_translated_says_so() {
    for (line, reason) in [
        ("iptables-translate -A INPUT -p sctp --chunk-types only INIT", "-m sctp"),
        ("iptables-translate -D INPUT 3", "handle"),
        ("iptables-translate -Z", "counters"),
    ] {
        let (code, out, err) = translate(line, "");
        assert_eq!((code, out.as_str()), (1, ""), "{line}");
        assert!(err.contains(reason), "{line}: {err}");
    }
}

#[test]
fn files() {
    let table = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n-A PREROUTING -p tcp -j CT --notrack\nCOMMIT\n";
    for (program, family) in [("iptables-restore-translate", "ip"), ("ip6tables-restore-translate", "ip6")] {
        let expected = format!(
            "table {family} raw {{\n\
             \tchain PREROUTING {{\n\t\ttype filter hook prerouting priority -300; policy accept;\n\
             \t\tmeta l4proto tcp counter notrack\n\t}}\n\
             \tchain OUTPUT {{\n\t\ttype filter hook output priority -300; policy drop;\n\t}}\n}}\n"
        );
        assert_eq!(translate(&format!("{program} -f rules"), table), (0, expected, String::new()));
    }
    let broken = table.replace("--notrack", "--helper ftp");
    let (code, out, err) = translate("iptables-restore-translate", &broken);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("table raw, chain PREROUTING, rule 1: -j CT: "), "{err}");
    let (code, out, _) = translate("iptables-restore-translate --partial", &broken);
    assert!(code == 0 && out.contains("# not expressed: "), "{out}");
}
