//! Rule sets as nftables text: that `nft` takes what is written, and that what it can't say is named.

mod cases;
mod upstream;

use fielato_iptables::{BuiltinNames, Registry, nft, restore};
use fielato_netfilter::Ruleset;
use fielato_wire::Family;

use cases::{CASES, INEXPRESSIBLE};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A table of these rules, each written `CHAIN RULE`; `BASE` stands for the first built-in chain.
fn rules(family: Family, table: &str, lines: &[&str]) -> Ruleset {
    let chains = match table {
        "raw" => "PREROUTING OUTPUT",
        "mangle" => "PREROUTING INPUT FORWARD OUTPUT POSTROUTING",
        "nat" => "PREROUTING INPUT OUTPUT POSTROUTING",
        _ => "INPUT FORWARD OUTPUT",
    };
    let mut text = format!("*{table}\n");
    for chain in chains.split(' ') {
        text += &format!(":{chain} ACCEPT [0:0]\n");
    }
    text += ":other - [0:0]\n";
    for line in lines {
        text += &format!("[7:900] -A {line}\n");
    }
    text += "COMMIT\n";
    restore::parse(&text, family, &Registry::builtin(), &BuiltinNames).unwrap_or_else(|error| panic!("{lines:?}: {error}"))
}

/// The rules of the one chain that has any, as nft's.
fn words(family: Family, table: &str, line: &str) -> Result<String, String> {
    let options = nft::Options {
        no_counts: true,
        whole: true,
        ..nft::Options::default()
    };
    let text = nft::ruleset(&rules(family, table, &[line]), options).map_err(|error| error.to_string())?;
    let skip = |line: &&str| !line.starts_with("\t\t") || line.starts_with("\t\ttype ");
    Ok(text
        .lines()
        .filter(|line| !skip(line))
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("\n"))
}

/// What nft says against a text; nothing when it would take it.
fn refusal(text: &str) -> Option<String> {
    let output = fielato_testkit::run("unshare", &["--net", "nft", "--check", "--file", "-"], text);
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn can_check(test: &str) -> bool {
    fielato_testkit::can_run(test, &["nft", "unshare"])
}

#[test]
fn rules_in_words() {
    let mut wrong = Vec::new();
    for cases in CASES {
        for family in cases.families {
            for (line, expected) in cases.cases {
                let got = words(*family, cases.table, line);
                if got.as_deref() != Ok(expected) {
                    wrong.push(format!("{family:?} {line}\n\texpected {expected}\n\tgot {got:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nft_takes_every_rule() {
    if !can_check("nft_takes_every_rule") {
        return;
    }
    let mut refused = Vec::new();
    for cases in CASES {
        for &family in cases.families {
            let lines: Vec<&str> = cases.cases.iter().map(|(line, _)| *line).collect();
            let all = nft::ruleset(&rules(family, cases.table, &lines), nft::Options::default()).unwrap();
            assert!(all.contains("counter packets 7 bytes 900"), "{all}");
            if refusal(&all).is_none() {
                continue;
            }
            // Which one?
            for line in lines {
                let text = nft::ruleset(&rules(family, cases.table, &[line]), nft::Options::default()).unwrap();
                if let Some(said) = refusal(&text) {
                    refused.push(format!("{family:?} {line}\n{said}"));
                }
            }
            refused.push(format!("{family:?} {}: all together", cases.table));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn what_nft_cannot_say_is_named() {
    for (table, line, reason) in INEXPRESSIBLE {
        for family in FAMILIES {
            let rules = rules(family, table, &["OUTPUT -j ACCEPT", line]);
            let error = nft::ruleset(&rules, nft::Options::default()).unwrap_err();
            assert!(error.to_string().contains(reason), "{line}: {error}");
            let [missing] = error.0.as_slice() else {
                panic!("{line}: {error}");
            };
            let chain = line.split(' ').next().unwrap();
            let number = if chain == "OUTPUT" { 2 } else { 1 };
            assert_eq!((missing.chain.as_str(), missing.rule), (chain, number));
            // In the text that is asked for all the same, it stands as a comment.
            let partial = nft::partial(&rules, nft::Options::default());
            assert!(partial.text.contains("\t\t# not expressed: "), "{}", partial.text);
            assert!(partial.text.contains("accept"));
        }
    }
}

/// Without connection tracking, fragments come one by one, and nft would read ports in any of them.
#[test]
fn what_reads_headers_passes_later_fragments_over() {
    let text = |lines: &[&str]| nft::ruleset(&rules(Family::V6, "filter", lines), nft::Options::default());
    let (ports, tracks) = (
        "INPUT -p tcp -m quota --quota 9 -m multiport ! --dports 22 -j DROP",
        "INPUT -m state --state NEW",
    );
    let guarded = "meta l4proto tcp quota 9 bytes @th,0,24 >= 0 th dport != 22 counter packets 7 bytes 900 drop";
    assert!(text(&[ports]).unwrap().contains(guarded));
    let whole = "meta l4proto tcp quota 9 bytes th dport != 22 counter packets 7 bytes 900 drop";
    assert!(text(&[ports, tracks]).unwrap().contains(whole));

    let options = "INPUT -p tcp -m tcpmss --mss 500";
    let error = text(&[options]).unwrap_err().to_string();
    assert!(
        error.contains("-m tcpmss: iptables reads the options of later fragments"),
        "{error}"
    );
    assert!(text(&[options, tracks]).is_ok());
    if can_check("what_reads_headers_passes_later_fragments_over") {
        assert_eq!(refusal(&text(&[ports]).unwrap()), None);
    }
}

/// `nft_nat_setup_netmap` takes an IPv4 address that is mapped on itself for a translated one.
#[test]
fn a_network_is_mapped_on_another() {
    for (line, expressed) in [
        ("PREROUTING -j NETMAP --to 10.0.0.0/28", false),
        ("PREROUTING -d 10.0.0.0/8 -j NETMAP --to 10.0.0.0/28", false),
        ("PREROUTING -s 10.1.0.0/16 -j NETMAP --to 10.0.0.0/28", false),
        ("PREROUTING ! -d 10.1.0.0/16 -j NETMAP --to 10.0.0.0/28", false),
        ("PREROUTING -d 10.0.0.16/28 -j NETMAP --to 10.0.0.0/28", true),
        ("POSTROUTING -s 10.1.0.0/16 -j NETMAP --to 10.0.0.0/28", true),
    ] {
        assert_eq!(words(Family::V4, "nat", line).is_ok(), expressed, "{line}");
    }
}

#[test]
fn a_rule_names_everything_it_lacks() {
    let rules = rules(
        Family::V4,
        "filter",
        &["INPUT -p tcp -m tcpmss ! --mss 500 -m helper ! --helper ftp -j LOG --log-prefix $"],
    );
    let parts = nft::ruleset(&rules, nft::Options::default()).unwrap_err().0;
    let parts: Vec<&str> = parts.iter().map(|part| part.part.as_str()).collect();
    assert_eq!(parts, ["-m tcpmss", "-m helper", "-j LOG"]);
}

#[test]
fn a_whole_table() {
    let text = "\
*nat
:PREROUTING ACCEPT [5:600]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING DROP [0:0]
:drop - [0:0]
:drop2 - [0:0]
[1:60] -A PREROUTING -s 10.0.0.0/8 -j drop
[0:0] -A drop -p udp -m connlimit --connlimit-above 2 -j RETURN
[0:0] -A drop -p udp -m connlimit --connlimit-above 3 -g drop2
COMMIT
";
    let rules = restore::parse(text, Family::V4, &Registry::builtin(), &BuiltinNames).unwrap();
    let options = nft::Options {
        replace: true,
        ..nft::Options::default()
    };
    let expected = "\
table ip nat
delete table ip nat
table ip nat {
	set connlimit0 { type ipv4_addr; flags dynamic; size 65535; }
	set connlimit1 { type ipv4_addr; flags dynamic; size 65535; }
	chain PREROUTING {
		type nat hook prerouting priority -100; policy accept;
		# the policy counted 5 packets, 600 bytes
		ip saddr 10.0.0.0/8 counter packets 1 bytes 60 jump xt.drop
	}
	chain INPUT {
		type nat hook input priority 100; policy accept;
	}
	chain OUTPUT {
		type nat hook output priority -100; policy accept;
	}
	chain POSTROUTING {
		type nat hook postrouting priority 100; policy drop;
	}
	# chain \"drop\"
	chain xt.drop {
		meta l4proto udp add @connlimit0 { ip saddr ct count over 2 } counter return
		meta l4proto udp add @connlimit1 { ip saddr ct count over 3 } counter goto drop2
	}
	chain drop2 {
	}
}
";
    assert_eq!(nft::ruleset(&rules, options).unwrap(), expected);
    if can_check("a_whole_table") {
        assert_eq!(refusal(expected), None);
    }
}

#[test]
fn chains_of_any_name() {
    if !can_check("chains_of_any_name") {
        return;
    }
    // nft's own words, and letters it doesn't take.
    let names = [
        "accept",
        "all",
        "ct",
        "counter",
        "day",
        "drop",
        "ip",
        "ip6",
        "log",
        "limit",
        "meta",
        "policy",
        "rule",
        "set",
        "snat",
        "tcp",
        "time",
        "type",
        "1st",
        "a b",
        "a;b",
        "f2b-ssh",
        "ssh",
        "ä",
        "x*",
        "{",
        "xt.drop",
        "_x",
        "a/b",
        "@home",
        "$x",
        "last",
        "name",
        "hook",
        "device",
        "rt",
        "size",
        "flags",
        "timeout",
        "typeof",
        "vmap",
        "and",
        "or",
        "xor",
        "eq",
        "in",
        "out",
        "allow",
        "block",
        "in_wan",
        "lan",
        "dmz",
        "zone",
        "trusted",
        "world",
        "guest",
        "vpn",
        "input",
        "output",
        "forward",
        "established",
        "invalid",
        "icmp",
        "udp",
        "th",
        "to",
        "mark",
        "nat",
        "filter",
        "raw",
        "mangle",
        "security",
        "main",
        "default",
        "common",
        "inbound",
    ];
    for family in FAMILIES {
        let mut rules = rules(family, "filter", &[]);
        let table = rules.table_mut("filter").unwrap();
        for name in names {
            table.chains.push(fielato_netfilter::Chain::user(name));
            let jump = fielato_netfilter::Rule {
                target: fielato_netfilter::Target::Jump(name.to_owned()),
                ..Default::default()
            };
            table.chain_mut("INPUT").unwrap().rules.push(jump);
        }
        let text = nft::ruleset(&rules, nft::Options::default()).unwrap();
        assert_eq!(refusal(&text), None, "{text}");
    }
}
