//! The languages of Linux 2.2 and 2.0: commands, the rules they stand for, and what those do to packets.

mod common;

use fielato_iptables::ipchains::program::{self, Tool};
use fielato_iptables::{BuiltinNames, Registry};
use fielato_netfilter::conntrack::Config;
use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::{Effect, Netfilter, Now, Packet};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Family, Headers};

use common::{Machine, Router, address};

const ROUTER: Router = Router(["eth0", "ppp0"]);

impl Machine {
    /// Runs a command line; gives its exit code.
    fn code(&mut self, line: &str) -> u8 {
        let mut words = line.split_whitespace();
        let tool = Tool::find(words.next().unwrap()).unwrap();
        let words: Vec<&str> = words.collect();
        self.out.clear();
        self.err.clear();
        program::run(tool, &words, &Registry::builtin(), &BuiltinNames, self)
    }

    /// Runs a command line that must succeed; gives what it printed.
    fn run(&mut self, line: &str) -> String {
        assert_eq!(self.code(line), 0, "{line}: {}", self.err);
        self.out.clone()
    }
}

/// A machine whose rules are run.
struct Lab {
    machine: Machine,
    engine: Netfilter,
    now: Now,
}

impl Lab {
    fn new() -> Lab {
        Lab {
            machine: Machine::default(),
            engine: Netfilter::new(Config::default(), 7),
            now: Now::from_secs(1),
        }
    }

    fn run(&mut self, line: &str) {
        self.machine.run(line);
        let command = Command::Replace {
            ruleset: self.machine.tables.v4.clone(),
            generation: None,
        };
        self.engine
            .execute(Caller::Admin, command, self.now)
            .unwrap_or_else(|error| panic!("{line}: {error}"));
    }

    fn receive(&mut self, number: u32, bytes: Vec<u8>) -> Fate {
        self.now = self.now.plus(1_000_000);
        let packet = Packet::received(bytes, ROUTER.interface(number)).unwrap();
        self.engine.receive(packet, &mut { ROUTER }, self.now)
    }

    /// Whether the packet goes on or is delivered.
    fn passes(&mut self, number: u32, bytes: &[u8]) -> bool {
        match self.receive(number, bytes.to_vec()) {
            Fate::Transmit(_) | Fate::Deliver(_) => true,
            Fate::Dropped(_) => false,
            other => panic!("{other:?}"),
        }
    }
}

fn ip(from: &str, to: &str) -> Ip {
    Ip::new(Family::V4, address(from), address(to))
}

/// Commands, a packet that passes before them and is stopped after them, and one that passes still.
struct Case {
    commands: &'static [&'static str],
    at: u32,
    stopped: Vec<u8>,
    passes: Vec<u8>,
}

#[test]
fn packets_pass_and_then_are_stopped() {
    let out = || ip("10.0.0.2", "198.51.100.3");
    let own = || ip("198.51.100.3", "192.0.2.1");
    let ping = |ip: Ip| ip.icmp(8, 0, 1, b"x");
    let cases = [
        // The HOWTO's first example.
        Case {
            commands: &["ipchains -A input -s 198.51.100.3 -p icmp -j DENY"],
            at: 1,
            stopped: ping(own()),
            passes: own().udp(1, 2, b""),
        },
        Case {
            commands: &["ipchains -A input -p tcp -d 192.0.2.1 23 -i ppp0 -j DENY"],
            at: 1,
            stopped: own().tcp(&Tcp::new(1000, 23).syn()),
            passes: own().tcp(&Tcp::new(1000, 22).syn()),
        },
        Case {
            commands: &["ipchains -A input -p tcp -i ppp0 -y -j DENY"],
            at: 1,
            stopped: own().tcp(&Tcp::new(1000, 23).syn()),
            passes: own().tcp(&Tcp::new(1000, 23).ack(1)),
        },
        Case {
            commands: &["ipchains -P forward DENY"],
            at: 0,
            stopped: out().udp(1, 2, b""),
            passes: ip("10.0.0.2", "10.0.0.1").udp(1, 2, b""),
        },
        // In `forward` and `output` -i is the way out.
        Case {
            commands: &["ipchains -A forward -i ppp0 -p udp -d 0/0 53 -j DENY"],
            at: 0,
            stopped: out().udp(1, 53, b""),
            passes: out().udp(1, 54, b""),
        },
        Case {
            commands: &["ipchains -A output -i ppp0 -s 10.0.0.2 -j DENY"],
            at: 0,
            stopped: out().udp(1, 2, b""),
            passes: ip("10.0.0.3", "198.51.100.3").udp(1, 2, b""),
        },
        // What input accepts, forward still judges.
        Case {
            commands: &["ipchains -A input -s 10/8 -j ACCEPT", "ipchains -A forward -p udp -j REJECT"],
            at: 0,
            stopped: out().udp(1, 2, b""),
            passes: ping(out()),
        },
        Case {
            commands: &[
                "ipchains -N good",
                "ipchains -A good -p icmp -j RETURN",
                "ipchains -A good -s 10.0.0.0/24 -j DENY",
                "ipchains -A forward -j good",
            ],
            at: 0,
            stopped: out().udp(1, 2, b""),
            passes: ping(out()),
        },
        Case {
            commands: &["ipchains -A input -p icmp --icmp-type ping -j DENY -l"],
            at: 1,
            stopped: ping(own()),
            passes: own().icmp(0, 0, 1, b"x"),
        },
        Case {
            commands: &["ipchains -A input -p tcp -s ! 198.51.100.0/24 ! 1024:65535 -j DENY"],
            at: 1,
            stopped: ip("203.0.113.1", "192.0.2.1").tcp(&Tcp::new(80, 80).syn()),
            passes: own().tcp(&Tcp::new(80, 80).syn()),
        },
        // ipfwadm.
        Case {
            commands: &["ipfwadm -F -p deny"],
            at: 0,
            stopped: out().udp(1, 2, b""),
            passes: ip("10.0.0.2", "10.0.0.1").udp(1, 2, b""),
        },
        Case {
            commands: &["ipfwadm -I -a deny -P tcp -S 0/0 -D 192.0.2.1 23 25 -W ppp0"],
            at: 1,
            stopped: own().tcp(&Tcp::new(1000, 25).syn()),
            passes: own().tcp(&Tcp::new(1000, 24).syn()),
        },
        Case {
            commands: &["ipfwadm -O -i reject -P udp -D 198.51.100.0/24"],
            at: 0,
            stopped: out().udp(1, 2, b""),
            passes: ping(out()),
        },
    ];
    for case in cases {
        let mut lab = Lab::new();
        lab.run("ipchains -P input ACCEPT");
        assert!(lab.passes(case.at, &case.stopped), "{:?}: nothing passes", case.commands);
        for command in case.commands {
            lab.run(command);
        }
        assert!(!lab.passes(case.at, &case.stopped), "{:?} stop nothing", case.commands);
        assert!(lab.passes(case.at, &case.passes), "{:?} stop too much", case.commands);
    }
}

#[test]
fn masqueraded_connections() {
    for command in [
        "ipchains -A forward -i ppp0 -s 10.0.0.0/24 -j MASQ",
        "ipfwadm -F -a masquerade -S 10.0.0.0/24 -W ppp0",
        "ipfwadm -F -a accept -m -S 10.0.0.0/24 -W ppp0",
    ] {
        let mut lab = Lab::new();
        lab.run("ipchains -P forward DENY");
        let packet = ip("10.0.0.2", "198.51.100.3").udp(1000, 53, b"?");
        assert!(!lab.passes(0, &packet));
        lab.run(command);
        let Fate::Transmit(sent) = lab.receive(0, packet) else {
            panic!("{command}")
        };
        let headers = Headers::parse(&sent.data).unwrap();
        assert_eq!(headers.src, address("192.0.2.1"), "{command}");
        // The answer passes `forward`, whose policy is DENY, by.
        let answer = Ip::new(Family::V4, headers.dst, headers.src).udp(53, headers.sport, b"!");
        let Fate::Transmit(back) = lab.receive(1, answer) else {
            panic!("{command}")
        };
        assert_eq!(Headers::parse(&back.data).unwrap().dst, address("10.0.0.2"));
        assert!(!lab.passes(1, &ip("198.51.100.9", "10.0.0.2").udp(53, 1000, b"!")));
    }
}

#[test]
fn redirected_connections() {
    let mut lab = Lab::new();
    lab.run("ipchains -P input DENY");
    let packet = ip("10.0.0.2", "198.51.100.3").tcp(&Tcp::new(1000, 80).syn());
    assert!(!lab.passes(0, &packet));
    lab.run("ipchains -A input -p tcp -s 10/8 -d 0/0 80 -j REDIRECT 8080");
    let Fate::Deliver(packet) = lab.receive(0, packet) else {
        panic!("not redirected")
    };
    assert_eq!((packet.headers.dst, packet.headers.dport), (address("10.0.0.1"), 8080));
}

#[test]
fn marks_and_tos_are_set() {
    let mut lab = Lab::new();
    lab.run("ipchains -A input -p udp -t 0x01 0x10 -m 7");
    let Fate::Transmit(packet) = lab.receive(0, ip("10.0.0.2", "198.51.100.3").udp(1, 2, b"")) else {
        panic!("stopped")
    };
    assert_eq!((packet.data[1], packet.mark), (0x10, 7));
}

#[test]
fn rejects_answer() {
    let mut lab = Lab::new();
    lab.run("ipchains -A input -i eth0 -j REJECT");
    assert!(!lab.passes(0, &ip("10.0.0.2", "198.51.100.3").udp(1, 2, b"")));
    let answered = lab.engine.drain_effects().any(|effect| matches!(effect, Effect::Transmit(_)));
    assert!(answered);
}

#[test]
fn checks() {
    let mut machine = Machine::default();
    machine.run("ipchains -N sub");
    for line in [
        "input -p tcp -s 192.168.1.1 -j DENY",
        "input -p udp -j REJECT",
        "input -i ppp+ -j sub",
        "sub -d 1.2.3.4 -j DENY",
        "forward -s 10/8 -j MASQ",
        "input -p tcp -d 0/0 80 -j REDIRECT 3128",
    ] {
        machine.run(&format!("ipchains -A {line}"));
    }
    for (line, fate) in [
        ("input -p tcp -y -s 192.168.1.1 60000 -d 192.168.1.2 80 -i eth0", "denied"),
        ("input -p tcp -s 192.168.1.3 60000 -d 192.168.1.2 25 -i eth0", "accepted"),
        ("input -p tcp -s 192.168.1.3 60000 -d 192.168.1.2 80 -i eth0", "redirected"),
        ("input -p udp -s 192.168.1.3 1 -d 192.168.1.2 2 -i eth0", "rejected"),
        ("input -p icmp -s 192.168.1.3 8 -d 1.2.3.4 -i ppp0", "denied"),
        ("sub -p icmp -s 192.168.1.3 8 -d 1.2.3.5 -i ppp0", "passed through chain"),
        ("forward -p tcp -s 10.1.1.1 1 -d 1.2.3.5 2 -i ppp0", "masqueraded"),
    ] {
        assert_eq!(machine.run(&format!("ipchains -C {line}")), format!("{fate}\n"), "{line}");
    }
    assert_eq!(machine.code("ipchains -C input -p tcp -i eth0"), 2);
}

#[test]
fn rules_are_changed_and_listed() {
    let mut machine = Machine::default();
    machine.run("ipchains -A input -s 192.168.1.0/24 -p tcp -y -j ACCEPT -l");
    machine.run("ipchains -I input -p udp -d 10.1.2.3 53 -b -j DENY");
    machine.run("ipchains -R input 2 -j RETURN");
    let expected = "\
Chain input (policy ACCEPT):
target     prot opt     source                destination           ports
DENY       udp  ------ 0.0.0.0/0             10.1.2.3              any ->   53
RETURN     all  ------ 0.0.0.0/0             0.0.0.0/0             n/a
ACCEPT     tcp  -y--l- 192.168.1.0/24        0.0.0.0/0             any ->   any
";
    let listed = machine.run("ipchains -L input -n");
    assert_eq!(listed, expected);
    machine.run("ipchains -D input 1");
    machine.run("ipchains -D input -j RETURN");
    let saved = machine.run("ipchains-save");
    assert_eq!(
        saved,
        "\
:input ACCEPT
:forward ACCEPT
:output ACCEPT
-A input -s 192.168.1.0/255.255.255.0 -d 0.0.0.0/0.0.0.0 -p 6 -y -l -j ACCEPT
"
    );
    machine.run("ipchains -F");
    machine.input = saved.clone();
    machine.run("ipchains-restore");
    assert_eq!(machine.run("ipchains-save"), saved);
}

#[test]
fn refused_commands_change_nothing() {
    let mut machine = Machine::default();
    machine.run("ipchains -N one");
    machine.run("ipchains -N two");
    machine.run("ipchains -A one -j two");
    let before = machine.run("ipchains-save");
    for (line, code) in [
        ("-A two -j one", 1),
        ("-A nowhere -j DENY", 1),
        ("-A input -j nowhere", 1),
        ("-A input -j output", 1),
        ("-X two", 1),
        ("-X input", 1),
        ("-N one", 1),
        ("-N toolongname", 2),
        ("-N DENY", 2),
        ("-P one DENY", 1),
        ("-P input MASQ", 1),
        ("-D input 1", 1),
        ("-I input 5 -j DENY", 1),
        ("-A input -y -j DENY", 2),
        ("-A input -s 0/0 80 -j DENY", 2),
        ("-A input -p tcp -s 0/0 90:80 -j DENY", 2),
        ("-A input -s nohost -j DENY", 2),
        ("-A input -i sixteen-letters0 -j DENY", 2),
        ("-A input -i a\"b -j DENY", 2),
        ("-A input --unknown", 2),
        ("", 2),
    ] {
        assert_eq!(machine.code(&format!("ipchains {line}")), code, "{line}: {}", machine.err);
        assert!(machine.err.starts_with("ipchains: "), "{}", machine.err);
    }
    assert_eq!(machine.run("ipchains-save"), before);
}

#[test]
fn counts_are_kept_when_rules_change() {
    let mut lab = Lab::new();
    lab.run("ipchains -A input -p udp");
    lab.run("ipchains -A forward -p udp");
    let packet = ip("10.0.0.2", "198.51.100.3").udp(1, 2, b"");
    for _ in 0..3 {
        assert!(lab.passes(0, &packet));
    }
    lab.machine.tables.v4 = lab.engine.ruleset(Family::V4);
    for line in ["ipchains -A output -j ACCEPT", "ipchains -N other"] {
        lab.machine.run(line);
    }
    let listed = lab.machine.run("ipchains -L -v -x -n");
    let counted = listed.lines().filter(|line| line.starts_with("    3    84 ")).count();
    assert_eq!(counted, 2, "{listed}");
    lab.machine.run("ipchains -Z");
    assert!(!lab.machine.run("ipchains -L -v -n").contains("    3    84 "));
}

#[test]
fn the_rules_that_are_printed_are_iptables_own() {
    let mut machine = Machine::default();
    let text = machine.run("ipchains --print -A input -p tcp -d 0/0 23 -j DENY");
    assert!(text.contains("-A in.input -p 6 -m tcp --dport 23:23 -j DROP\n"), "{text}");
    assert!(text.contains("-A thin.input -p 6 -m tcp --dport 23:23 -j DROP\n"), "{text}");
    fielato_iptables::restore::parse(&text, Family::V4, &Registry::builtin(), &BuiltinNames).unwrap();
    assert_eq!(machine.run("ipchains --print"), text);
    assert_eq!(machine.run("ipfwadm -I -l -n"), machine.run("ipchains -L input -n"));
}

#[test]
fn accounting_rules_of_ipfwadm_count() {
    let mut lab = Lab::new();
    lab.run("ipfwadm -A in -a -P udp -S 10.0.0.0/24");
    assert!(lab.passes(0, &ip("10.0.0.2", "198.51.100.3").udp(1, 2, b"")));
    lab.machine.tables.v4 = lab.engine.ruleset(Family::V4);
    let listed = lab.machine.run("ipfwadm -A in -l -v -n");
    assert!(listed.contains("    1    28 -          udp "), "{listed}");
}

#[test]
fn the_kernel_takes_the_rules_that_are_printed() {
    let test = "the_kernel_takes_the_rules_that_are_printed";
    if !fielato_testkit::can_run(test, &["iptables-legacy-restore", "unshare"]) {
        return;
    }
    let mut machine = Machine::default();
    for line in [
        "ipchains -P forward MASQ",
        "ipchains -N sub",
        "ipchains -A sub -p icmp -s ! 10/8 ping -j REJECT -l",
        "ipchains -A input -p tcp -d 0/0 80 -j REDIRECT 3128",
        "ipchains -A input -p tcp -t 0x01 0x10 -m 7 ! -y -j sub",
        "ipchains -A output -f -i ! eth+ -j DENY",
        "ipfwadm -A both -a -P udp",
    ] {
        machine.run(line);
    }
    let text = machine.run("ipchains --print");
    let output = fielato_testkit::run("unshare", &["--net", "iptables-legacy-restore", "--counters"], &text);
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
}
