//! Command lines: what they do to rules, what wrong ones are told, exit codes.

mod common;

use fielato_iptables::{Error, Output, Program};
use fielato_netfilter::Ruleset;
use fielato_wire::Family;

/// Rules and the program over them.
struct Machine {
    rules: Ruleset,
}

impl Machine {
    fn new(family: Family) -> Machine {
        Machine {
            rules: Ruleset::new(family),
        }
    }

    /// Runs a command; words are parted by single spaces, `_` is an empty word.
    fn run(&mut self, words: &str) -> Result<Output, Error> {
        let words: Vec<&str> = words.split(' ').map(|word| if word == "_" { "" } else { word }).collect();
        common::run(&mut self.rules, &words)
    }

    fn saved(&mut self, chain: &str) -> Vec<String> {
        let listed = self.run(&format!("-S {chain}")).unwrap().out;
        listed
            .lines()
            .skip(1)
            .map(|line| line.replacen(&format!("-A {chain} "), "", 1))
            .collect()
    }
}

#[test]
fn rules_as_they_are_saved() {
    let v4 = Family::V4;
    for (family, words, saved) in [
        (v4, "-s 10.1.2.3/8", "-s 10.0.0.0/8"),
        (v4, "--source=10.1.2.3/255.0.255.0", "-s 10.0.2.0/255.0.255.0"),
        (v4, "--src 1.2.3.4 --dst 5.6.7.8", "-s 1.2.3.4/32 -d 5.6.7.8/32"),
        (v4, "! -s 0.0.0.0/0", "! -s 0.0.0.0/0"),
        (v4, "-d any/0 -p all", ""),
        (v4, "-p 6 --dport http", "-p tcp -m tcp --dport 80"),
        (v4, "-p TCP --sp 1:2 ! --dp 3", "-p tcp -m tcp --sport 1:2 ! --dport 3"),
        (v4, "! -p 89", "! -p ospf"),
        (v4, "-p 253 -jACCEPT", "-p 253 -j ACCEPT"),
        (v4, "-i eth+ ! -o lo", "-i eth+ ! -o lo"),
        (v4, "-i +", ""),
        (v4, "-f -j DROP", "-f -j DROP"),
        (v4, "! --frag --jump RETURN", "! -f -j RETURN"),
        (v4, "-m comment --comment it's", "-m comment --comment \"it\\'s\""),
        (v4, "-g users", "-g users"),
        (
            v4,
            "-m tcp -p tcp -m tcp --dport 1 -m tcp --sport 2",
            "-p tcp -m tcp -m tcp --dport 1 -m tcp --sport 2",
        ),
        (Family::V6, "-s 2001:db8::1/48 -p icmpv6", "-s 2001:db8::/48 -p ipv6-icmp"),
        (Family::V6, "! -d ::1", "! -d ::1/128"),
        (Family::V6, "-s ::/0 -p 135", "-p mobility-header"),
    ] {
        let mut machine = Machine::new(family);
        machine.run("-N users").unwrap();
        // FORWARD takes both interfaces.
        machine
            .run(&format!("-A FORWARD {words}"))
            .unwrap_or_else(|error| panic!("{words}: {error}"));
        let found = machine.saved("FORWARD");
        assert_eq!(found, [if saved.is_empty() { "-A FORWARD" } else { saved }], "{words}");
        // What was saved is the same rule.
        if words != "-i +" && !saved.contains('"') {
            machine
                .run(format!("-C FORWARD {saved}").trim())
                .unwrap_or_else(|error| panic!("{saved}: {error}"));
        }
    }
}

#[test]
fn several_addresses_are_several_rules() {
    let mut machine = Machine::new(Family::V4);
    machine.run("-A INPUT -s 1.1.1.1,2.2.2.2 -d 3.3.3.3,4.4.4.4 -j DROP").unwrap();
    let pairs = [
        ("1.1.1.1", "3.3.3.3"),
        ("1.1.1.1", "4.4.4.4"),
        ("2.2.2.2", "3.3.3.3"),
        ("2.2.2.2", "4.4.4.4"),
    ];
    let wanted = pairs.map(|(source, destination)| format!("-s {source}/32 -d {destination}/32 -j DROP"));
    assert_eq!(machine.saved("INPUT"), wanted);
    machine.run("-D INPUT -s 1.1.1.1,2.2.2.2 -d 4.4.4.4 -j DROP").unwrap();
    assert_eq!(machine.saved("INPUT").len(), 2);
    machine.run("-I INPUT 2 -c 5 6 -j ACCEPT").unwrap();
    machine.run("-R INPUT 1 -p udp").unwrap();
    assert_eq!(machine.saved("INPUT"), ["-p udp", "-j ACCEPT", &*wanted[2]]);
    assert!(
        machine
            .run("-S INPUT 2 -v")
            .unwrap()
            .out
            .contains("-A INPUT -c 5 6 -j ACCEPT")
    );
}

#[test]
fn wrong_words_are_told_why() {
    let long = "abcdefghijklmnopqrstuvwxyz0123";
    for (words, code, message) in [
        ("-A INPUT -p nope", 2, "unknown protocol \"nope\" specified"),
        ("-A INPUT ! -p all", 2, "rule would never match protocol"),
        ("-A INPUT -s 1.1.1.1/33", 2, "invalid mask `33' specified"),
        ("-A INPUT -s 1.2.3.999", 2, "host/network `1.2.3.999' not found"),
        (
            "-A INPUT ! -s 1.1.1.1,2.2.2.2",
            2,
            "! not allowed with multiple source or destination IP addresses",
        ),
        ("-A INPUT -s 1.1.1.1 -s 1.1.1.1", 2, "multiple -s flags not allowed"),
        ("-A INPUT ! -j ACCEPT", 2, "cannot have ! before -j"),
        ("-N _", 2, "Invalid chain name `'"),
        ("-E used _", 2, "Invalid chain name `'"),
        ("-E used a\tb", 2, "Invalid chain name `a\tb'"),
        (
            "-A INPUT -m comment --comment a\nb",
            2,
            "the word \"a\\nb\" can't be saved: leave out the line end or zero byte in it",
        ),
        ("-A INPUT ! ! -s 1.1.1.1", 2, "multiple consecutive ! not allowed"),
        ("-A INPUT -j ACCEPT !", 2, "nothing appropriate following !"),
        ("-A INPUT -s ! 1.1.1.1", 2, "Bad argument `1.1.1.1'"),
        ("-A INPUT more", 2, "Bad argument `more'"),
        ("-A INPUT -- more", 2, "unknown arguments found on commandline"),
        ("-A", 2, "option \"-A\" requires an argument"),
        ("-A INPUT --dport 80", 2, "unknown option \"--dport\""),
        ("-A INPUT --so", 2, "option \"--so\" requires an argument"),
        ("-A INPUT --s 1.1.1.1", 2, "unknown option \"--s\""),
        ("-A INPUT --numeric=1", 2, "unknown option \"--numeric=1\""),
        ("-A INPUT -p tcp --tcp-flags SYN", 2, "--tcp-flags requires two args."),
        (
            "-A INPUT -m nope",
            2,
            "Couldn't load match `nope':No such file or directory\n",
        ),
        (
            "-A INPUT -j nope",
            2,
            "Couldn't load target `nope':No such file or directory\n",
        ),
        ("-A INPUT -g nope", 2, "goto 'nope' is not a chain"),
        ("-A INPUT -j _", 2, "Invalid target name (too short)"),
        (
            &format!("-A INPUT -j {long}"),
            2,
            &format!("Invalid target name `{long}' (28 chars max)"),
        ),
        (
            &format!("-N {long}"),
            2,
            &format!("chain name `{long}' too long (must be under 29 chars)"),
        ),
        ("-N DROP", 2, "chain name may not clash with target name"),
        ("-N -x", 2, "chain name not allowed to start with `-'"),
        ("-A INPUT -o eth0", 2, "Can't use -o with INPUT\n"),
        ("-A OUTPUT -i eth0", 2, "Can't use -i with OUTPUT\n"),
        (
            "-A INPUT -i 0123456789abcdef",
            2,
            "interface name `0123456789abcdef' must be shorter than IFNAMSIZ (15)",
        ),
        ("-L -p tcp", 2, "Illegal option `-p' with this command"),
        ("-A INPUT -n", 2, "Illegal option `-n' with this command"),
        ("-A INPUT -D INPUT", 2, "Cannot use -D with -A"),
        ("-R INPUT -j DROP", 2, "-R requires a rule number"),
        (
            "-R INPUT 1 -s 1.1.1.1,2.2.2.2",
            2,
            "Replacement rule does not specify a unique address",
        ),
        ("-I INPUT 0", 2, "Invalid rule number `0'"),
        ("-A INPUT -c 1", 2, "-c requires packet and byte counter"),
        ("-A INPUT -c x 1", 2, "-c packet counter not numeric"),
        ("-E a", 2, "-E requires old-chain-name and new-chain-name"),
        ("-P INPUT", 2, "-P requires a chain and a policy"),
        ("-s 1.1.1.1", 2, "no command specified"),
        ("-6 -L", 2, ""),
        (
            "-t nope -L",
            3,
            "can't initialize iptables table `nope': Table does not exist (do you need to insmod?)",
        ),
        ("-A nope -j DROP", 1, "No chain/target/match by that name"),
        ("-L nope", 1, "No chain/target/match by that name"),
        ("-I INPUT 9 -j DROP", 1, "Index of insertion too big"),
        ("-R INPUT 9 -j DROP", 1, "Index of replacement too big"),
        ("-D INPUT 9", 1, "Index of deletion too big"),
        ("-Z INPUT 9", 1, "Index of counter too big"),
        ("-D INPUT -j DROP", 1, "Bad rule (does a matching rule exist in that chain?)"),
        ("-N used", 1, "Chain already exists"),
        ("-X used", 1, "Too many links"),
        ("-X full", 1, "Directory not empty"),
        ("-X INPUT", 1, "Invalid argument"),
        ("-E used full", 1, "File exists"),
        ("-E INPUT new", 1, "No chain/target/match by that name"),
        ("-P used DROP", 1, "Bad built-in chain name"),
        ("-P INPUT REJECT", 1, "Bad policy name"),
        ("-A used -j used", 1, "Too many levels of symbolic links"),
        ("-A FORWARD -j INPUT", 1, "Invalid argument"),
    ] {
        let mut machine = Machine::new(Family::V4);
        for before in ["-N used", "-N full", "-A FORWARD -j used", "-A full -j ACCEPT"] {
            machine.run(before).unwrap();
        }
        let before = machine.run("-S").unwrap().out;
        let error = machine.run(words).err().unwrap_or_else(|| panic!("{words}: done"));
        assert_eq!((error.exit_code(), &*error.to_string()), (code, message), "{words}");
        assert_eq!(machine.run("-S").unwrap().out, before, "{words} changed something");
    }
}

#[test]
fn messages_are_dressed_as_iptables_does() {
    let mut machine = Machine::new(Family::V4);
    let mut said = |words: &str| machine.run(words).unwrap_err().render(&Program::legacy("iptables"), None);
    let advice = "Try `iptables -h' or 'iptables --help' for more information.\n";
    assert_eq!(
        said("-L -P"),
        format!("iptables v1.8.9 (legacy): option \"-P\" requires an argument\n{advice}")
    );
    assert_eq!(
        said("-L nope more less"),
        format!("iptables v1.8.9 (legacy): Invalid rule number `more'\n{advice}")
    );
    assert_eq!(said("-6 -L"), advice);
    assert_eq!(said("-L nope"), "iptables: No chain/target/match by that name.\n");
    assert_eq!(
        said("-X INPUT"),
        "iptables: Invalid argument. Run `dmesg' for more information.\n"
    );
    assert!(said("-t x -L").ends_with("Perhaps iptables or your kernel needs to be upgraded.\n"));
}

#[test]
fn counters_are_listed_short_or_exact() {
    let mut machine = Machine::new(Family::V4);
    for (packets, shown) in [
        (99_999, "99999"),
        (100_000, " 100K"),
        (9_999_499, "9999K"),
        (9_999_500, "  10M"),
        (123_456_789_012, " 123G"),
        (u64::MAX, "18446744T"),
    ] {
        machine.run("-F INPUT").unwrap();
        machine.run(&format!("-A INPUT -c {packets} 1")).unwrap();
        let line = |text: &str| text.lines().nth(2).unwrap_or("").to_owned();
        assert!(
            line(&machine.run("-L INPUT -nv").unwrap().out).starts_with(shown),
            "{packets}"
        );
        let exact = line(&machine.run("-L INPUT -nvx").unwrap().out);
        assert!(exact.trim_start().starts_with(&packets.to_string()), "{exact}");
    }
}

#[test]
fn chains_are_renamed_with_their_references() {
    let mut machine = Machine::new(Family::V4);
    for words in ["-N one", "-A INPUT -j one", "-A FORWARD -g one", "-E one two"] {
        machine.run(words).unwrap();
    }
    assert_eq!(machine.saved("INPUT"), ["-j two"]);
    assert_eq!(machine.saved("FORWARD"), ["-g two"]);
    assert!(machine.run("-L two").unwrap().out.starts_with("Chain two (2 references)\n"));
    machine.run("-F").unwrap();
    machine.run("-X").unwrap();
    assert!(machine.run("-L two").is_err());
}
