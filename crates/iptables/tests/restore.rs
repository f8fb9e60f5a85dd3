//! Save files read and written.

use fielato_iptables::restore::{self, Restore, RestoreOptions, Tables};
use fielato_iptables::{BuiltinNames, Program, Registry, save};
use fielato_wire::Family;

fn saved(text: &str, family: Family) -> String {
    let registry = Registry::builtin();
    let rules = restore::parse(text, family, &registry, &BuiltinNames).unwrap_or_else(|error| panic!("{error}"));
    let options = save::SaveOptions {
        counters: true,
        ..Default::default()
    };
    save::ruleset(&rules, &registry, &BuiltinNames, options)
}

#[test]
fn what_is_saved_is_read_back() {
    let v4 = "\
*filter
:INPUT DROP [12:3456]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [7:8]
:alpha - [0:0]
:beta - [0:0]
[1:2] -A INPUT -s 10.0.0.0/8 -d 192.168.1.1/32 -i eth0 -p tcp -j ACCEPT
[0:0] -A INPUT ! -s 10.1.0.0/255.255.0.255 ! -i wg+ ! -p udp -j alpha
[0:0] -A FORWARD -i a -o b+ -f -g beta
[0:0] -A FORWARD ! -f -j QUEUE
[3:4] -A OUTPUT ! -o lo -p 253
[0:0] -A alpha -p gre -j RETURN
[0:0] -A beta -p mobility-header -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
";
    assert_eq!(saved(v4, Family::V4), v4);
    let v6 = "\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
[0:0] -A PREROUTING -s 2001:db8::/32 ! -d ::1/128 -p ipv6-icmp -j ACCEPT
[0:0] -A PREROUTING -s ff00::1/ff00::ffff -j DROP
COMMIT
";
    assert_eq!(saved(v6, Family::V6), v6);
}

/// iptables-save writes such words bare and cannot read them again.
#[test]
fn words_with_blanks_or_quotes_are_read_back() {
    let text = r#"*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:qu"ote - [0:0]
[0:0] -A FORWARD -i "e -j DROP" ! -o "a b+" -j "qu\"ote"
[0:0] -A FORWARD -m recent --set --name "a b" --mask 255.255.255.255 --rsource -g "qu\"ote"
[0:0] -A FORWARD -m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name "a \"b"
[0:0] -A FORWARD -m physdev --physdev-in "p 0+"
[0:0] -A FORWARD -j IDLETIMER --timeout 5 --label "l 1"
[0:0] -A FORWARD -j TEE --gateway 192.0.2.1 --oif "e 0"
[0:0] -A FORWARD -j RATEEST --rateest-name "r 1" --rateest-interval 250.0ms --rateest-ewmalog 500.0ms
[0:0] -A "qu\"ote" -j DROP
COMMIT
"#;
    assert_eq!(saved(text, Family::V4), text);
}

/// iptables gives such flags to chunk type 15, of which no rule speaks: the rules are one and the same.
#[test]
fn sctp_flags_of_late_types_are_none() {
    let rules = |flags| {
        let line = format!("-A INPUT -p sctp -m sctp --chunk-types any DATA:u,I_DATA{flags}");
        let text = format!("*filter\n{line}\nCOMMIT\n");
        restore::parse(&text, Family::V4, &Registry::builtin(), &BuiltinNames).unwrap()
    };
    let [with, without] = [":U", ""].map(|flags| rules(flags).tables[0].chains[0].rules[0].clone());
    assert!(with.same(&without), "{with:?}");
}

/// What `complete` is for: iptables-save leaves these words out, and the rule is read back as another.
#[test]
fn what_iptables_leaves_out_is_saved_too() {
    let registry = Registry::builtin();
    let both = [Family::V4, Family::V6];
    for (families, rule) in [
        (&both[..], "-i +"),
        (&both, "-p tcp -m tcp ! --sport 0:65535"),
        (&both, "-p tcp -m tcp ! --dport 0:65535"),
        (&both, "-p tcp -m tcp --tcp-flags NONE SYN"),
        (&both, "-p udp -m udp ! --sport 0:65535"),
        (&both, "-p ah -m ah ! --ahspi 0:4294967295"),
        (&both, "-p esp -m esp ! --espspi 0:4294967295"),
        (&both, "-p ipcomp -m ipcomp ! --ipcompspi 0:4294967295"),
        (
            &both,
            "-m connbytes --connbytes 0:0 --connbytes-mode bytes --connbytes-dir both",
        ),
        (&both[..1], "-p icmp -m icmp --icmp-type 3/1:4"),
        (&both[1..], "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/3:4"),
        (&both[1..], "-p mobility-header -m mh ! --mh-type 0:255"),
        (&both[1..], "-m rt ! --rt-segsleft 0:4294967295"),
        (&both[1..], "-m frag ! --fragid 0:4294967295"),
    ] {
        for &family in families {
            let text = format!("*filter\n-A FORWARD {rule} -j DROP\nCOMMIT\n");
            let rules = restore::parse(&text, family, &registry, &BuiltinNames).unwrap();
            let saved = |complete| {
                let options = save::SaveOptions {
                    complete,
                    ..Default::default()
                };
                let text = save::ruleset(&rules, &registry, &BuiltinNames, options);
                text.lines().find(|line| line.starts_with("-A")).unwrap().to_owned()
            };
            assert_eq!(saved(true), format!("-A FORWARD {rule} -j DROP"));
            assert_ne!(saved(false), saved(true));
        }
    }
}

/// What `-m icmp` and `-m hashlimit` cannot tell apart is one rule.
#[test]
fn equal_rules_are_saved_as_one() {
    for (given, other) in [
        ("-p icmp -m icmp ! --icmp-type 255/5", "-p icmp -m icmp ! --icmp-type any"),
        ("-m time ! --monthdays 0", "-m time"),
        ("-m time --monthdays 0,5", "-m time --monthdays 5"),
        (
            "-m time ! --monthdays 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "-m time --monthdays 0",
        ),
        (
            "-m time ! --weekdays 1,2,3,4,5,6,7",
            "-m time ! --weekdays Mo,Tu,We,Th,Fr,Sa,Su",
        ),
        (
            "-m hashlimit --hashlimit-above 15b/s --hashlimit-name a",
            "-m hashlimit --hashlimit-above 1b/s --hashlimit-name a",
        ),
    ] {
        let text = |rule| format!("*filter\n[0:0] -A INPUT {rule}\nCOMMIT\n");
        let lines = [given, other].map(|rule| saved(&text(rule), Family::V4));
        assert_eq!(lines[0], lines[1]);
        assert_eq!(saved(&lines[0], Family::V4), lines[0]);
    }
}

#[test]
fn errors_name_their_line() {
    let begin = "*filter\n:INPUT ACCEPT [0:0]\n";
    for (text, line, code, message) in [
        (
            "*filter\n-A INPUT -j ACCEPT\n",
            3,
            1,
            "iptables-restore: COMMIT expected at line 3\n",
        ),
        ("-A INPUT\n", 1, 1, "iptables-restore: line 1 failed\n"),
        (
            "*nope\nCOMMIT\n",
            1,
            2,
            "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nope'\n\
             Error occurred at line: 1\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.\n",
        ),
        (
            &format!("{begin}-A INPUT -p nonsense\nCOMMIT\n"),
            3,
            2,
            "iptables-restore v1.8.9 (legacy): unknown protocol \"nonsense\" specified\n\
             Error occurred at line: 3\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.\n",
        ),
        (
            &format!("{begin}-A nowhere -j ACCEPT\nCOMMIT\n"),
            3,
            1,
            "iptables-restore: line 3 failed\n",
        ),
        (
            &format!("{begin}:INPUT FOO [0:0]\n"),
            3,
            1,
            "iptables-restore v1.8.9 (legacy): Can't set policy `FOO' on `INPUT' line 3: Bad policy name\n",
        ),
        (
            &format!("{begin}:a - [0:0]\n:b - [0:0]\n-A INPUT -j a\n-A a -j b\n-A b -j a\nCOMMIT\n"),
            8,
            1,
            "iptables-restore: line 8 failed\n",
        ),
        (
            &format!("{begin}-t nat -A INPUT\nCOMMIT\n"),
            3,
            2,
            "iptables-restore v1.8.9 (legacy): The -t option cannot be used in iptables-restore.\n\n\
             Error occurred at line: 3\nTry `iptables-restore -h' or 'iptables-restore --help' for more information.\n",
        ),
    ] {
        let error = restore::parse(text, Family::V4, &Registry::builtin(), &BuiltinNames).unwrap_err();
        let program = Program::legacy("iptables-restore");
        assert_eq!(
            (error.line, error.exit_code(), &*error.render(&program)),
            (line, code, message),
            "{text}"
        );
    }
}

#[test]
fn other_families_lines_are_passed_over() {
    let text = "*filter\n-6 -A INPUT -s ::1 -j ACCEPT\n-4 -A INPUT -s 1.1.1.1 -j ACCEPT\nCOMMIT\n";
    assert!(saved(text, Family::V4).contains("-A INPUT -s 1.1.1.1/32 -j ACCEPT"));
    assert!(!saved(text, Family::V4).contains("::1"));
}

/// Tables that only say what was done with them.
#[derive(Default)]
struct Log(Vec<String>);

impl Tables for Log {
    fn init(&mut self, table: &str) -> Result<Option<fielato_iptables::iptc::Handle>, fielato_iptables::Error> {
        self.0.push(format!("init {table}"));
        Ok(fielato_netfilter::Table::standard(table).map(fielato_iptables::iptc::Handle::init))
    }

    fn commit(&mut self, handle: fielato_iptables::iptc::Handle) -> Result<(), fielato_iptables::Failure> {
        self.0.push(format!("commit {}", handle.table().name));
        Ok(())
    }
}

#[test]
fn each_table_is_committed_where_it_ends() {
    let text = "*filter\nCOMMIT\n*nat\n-A INPUT -p tcp\nCOMMIT\n*raw\nnonsense\n";
    let cases: [(RestoreOptions<'_>, &[&str]); 3] = [
        (
            RestoreOptions::default(),
            &["init filter", "commit filter", "init nat", "commit nat", "init raw"],
        ),
        (
            RestoreOptions {
                test: true,
                ..Default::default()
            },
            &["init filter", "init nat", "init raw"],
        ),
        (
            RestoreOptions {
                table: Some("nat"),
                ..Default::default()
            },
            &["init nat", "commit nat"],
        ),
    ];
    for (options, wanted) in cases {
        let mut log = Log::default();
        let restore = Restore {
            program: &Program::legacy("iptables-restore"),
            family: Family::V4,
            registry: &Registry::builtin(),
            names: &BuiltinNames,
            options,
        };
        let result = restore.run(text, &mut log, &mut Default::default());
        assert_eq!(result.is_err(), options.table.is_none());
        assert_eq!(log.0, wanted);
    }
}

/// As kernel 6.18 takes them.
#[test]
fn helpers_by_name() {
    let both = [Family::V4, Family::V6];
    for (helper, protocols, families) in [
        ("ftp", &["tcp"][..], &both[..]),
        ("tftp", &["udp"], &both),
        ("amanda", &["udp"], &both),
        ("Q.931", &["tcp"], &both),
        ("RAS", &["udp"], &both),
        ("irc", &["tcp"], &[Family::V4]),
        ("netbios-ns", &["udp"], &[Family::V4]),
        ("pptp", &["tcp"], &[Family::V4]),
        ("sane", &["tcp"], &both),
        ("sip", &["tcp", "udp"], &both),
        ("snmp", &["udp"], &[Family::V4]),
        ("gopher", &[], &both),
    ] {
        for (family, protocol) in both
            .into_iter()
            .flat_map(|family| ["tcp", "udp"].map(|protocol| (family, protocol)))
        {
            let rule = format!("-A PREROUTING -p {protocol} -j CT --helper {helper}\n");
            let text = format!("*raw\n{rule}COMMIT\n");
            let registry = Registry::builtin();
            let read = restore::parse(&text, family, &registry, &BuiltinNames);
            let takes = protocols.contains(&protocol) && families.contains(&family);
            assert_eq!(read.is_ok(), takes, "{family:?}: {rule}");
            if let Ok(rules) = read {
                let saved = save::ruleset(&rules, &registry, &BuiltinNames, Default::default());
                assert!(saved.contains(&rule), "{saved}");
            }
        }
    }
}
