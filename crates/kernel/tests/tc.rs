//! Disciplines and classes on real devices, next to those that `tc` itself sets up. Every test has a network namespace of its
//! own, which vanishes with the test's thread.

use std::net::UdpSocket;
use std::process::Command;

use fielato_kernel::netlink::Netlink;
use fielato_kernel::tc::{Object, Previous, TcError, clear, replace, show};
use fielato_qdisc::Item;

const LOOPBACK: u32 = 1;

/// Enters a fresh network namespace, or says why the test is skipped.
#[allow(unsafe_code)]
fn namespace(test: &str) -> Option<Netlink> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: a new network namespace touches neither memory nor file descriptors, only sockets opened later by this thread.
    if let Err(error) = unsafe { unshare_unsafe(UnshareFlags::NEWNET) } {
        fielato_testkit::skip(test, &format!("no network namespace: {error}"));
        return None;
    }
    run("ip link set lo up");
    Some(Netlink::open().unwrap())
}

/// Runs a command given as one line, and returns what it printed.
fn run(command: &str) -> String {
    let (status, output) = try_run(command);
    assert!(status, "{command}: {output}");
    output
}

fn try_run(command: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let text = match output.status.success() {
        true => output.stdout,
        false => output.stderr,
    };
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn items(lines: &[&str]) -> Vec<Item> {
    lines
        .iter()
        .map(|line| line.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// What `tc` shows of the loopback in all details.
fn details() -> String {
    run("tc -s -d qdisc show dev lo; tc -s -d class show dev lo")
}

const HTB: [&str; 7] = [
    "qdisc root handle 1: htb default 30",
    "class parent 1: classid 1:1 htb rate 100mbit",
    "class parent 1:1 classid 1:10 htb rate 10mbit ceil 20mbit burst 15k prio 1",
    "class parent 1:1 classid 1:30 htb rate 1234567kbit ceil 40gbit cburst 1m quantum 3000",
    "qdisc parent 1:10 handle 10: pfifo limit 100",
    "qdisc parent 1:30 handle 30: tbf rate 1mbit burst 32kbit latency 400ms",
    "class parent 1: classid 1:40 htb rate 8kbit",
];

/// The same words through netlink and through `tc` must leave the same thing, and our text of it must be tc's.
fn same_as_tc(netlink: &mut Netlink, lines: &[&str]) {
    let wanted = items(lines);
    replace(netlink, LOOPBACK, Previous::Nothing, &wanted).unwrap();
    let ours = details();
    let shown: String = show(netlink, LOOPBACK)
        .unwrap()
        .iter()
        .map(|shown| format!("{shown}\n"))
        .collect();
    assert_eq!(
        shown,
        run("tc -s qdisc show dev lo; tc -s class show dev lo | sed '/^class tbf/,/^$/d'"),
        "{lines:?}"
    );
    clear(netlink, LOOPBACK, Previous::Applied(&wanted)).unwrap();

    for line in lines {
        let (object, words) = line.split_once(' ').unwrap();
        run(&format!("tc {object} add dev lo {words}"));
    }
    assert_eq!(ours, details(), "{lines:?}");
    run("tc qdisc del dev lo root");

    // What we print must mean the same to tc.
    for item in &wanted {
        let text = item.to_string();
        let (object, words) = text.split_once(' ').unwrap();
        run(&format!("tc {object} add dev lo {words}"));
    }
    assert_eq!(ours, details(), "{lines:?} printed");
    run("tc qdisc del dev lo root");
}

#[test]
fn trees_are_those_that_tc_makes() {
    let Some(mut netlink) = namespace("trees_are_those_that_tc_makes") else {
        return;
    };
    same_as_tc(&mut netlink, &HTB);
    for line in [
        "qdisc root handle 5: tbf rate 1mbit burst 32kbit latency 400ms",
        "qdisc root handle 5: tbf rate 10mbit burst 10k limit 3k",
        "qdisc root handle 5: tbf rate 40gbit burst 10m latency 5ms peakrate 80gbit mtu 9000",
        "qdisc root handle 5: tbf rate 1mbit burst 100k latency 100ms peakrate 2mbit mtu 1540",
        "qdisc root handle 5: pfifo limit 100",
        "qdisc root handle 5: pfifo",
        "qdisc root handle 5: bfifo limit 10k",
        "qdisc root handle 5: htb r2q 100",
    ] {
        same_as_tc(&mut netlink, &[line]);
    }
}

#[test]
fn modules_that_not_every_kernel_has() {
    let test = "modules_that_not_every_kernel_has";
    let Some(mut netlink) = namespace(test) else { return };
    for (kind, lines) in [
        (
            "netem",
            &[
                "qdisc root handle 5: netem delay 500ms",
                "qdisc root handle 5: netem delay 100ms 10ms 25% loss 1% 25% duplicate 2% 3% corrupt 0.1%",
                "qdisc root handle 5: netem delay 10ms reorder 25% 50% gap 5 limit 50",
                "qdisc root handle 5: netem rate 1mbit",
                "qdisc root handle 5: netem rate 40gbit loss 0.3%",
                "qdisc root handle 5: netem delay 50ms 5ms distribution paretonormal loss state 1% 20% 3% 40% 0.5%",
                "qdisc root handle 5: netem rate 1mbit -14 48 5 loss gemodel 1% 10% 70% 0.1% ecn slot 800us 2ms packets 5 bytes 3k",
                "qdisc root handle 5: netem slot distribution pareto 10ms 1500us",
            ][..],
        ),
        (
            "fq_codel",
            &[
                "qdisc root handle 5: fq_codel",
                "qdisc root handle 5: fq_codel limit 1000 flows 512 target 7ms interval 80ms quantum 300 noecn memory_limit 1m",
                "qdisc root handle 5: fq_codel ce_threshold 3ms",
            ],
        ),
        (
            "codel",
            &["qdisc root handle 5: codel limit 500 target 7ms interval 80ms ecn ce_threshold 3ms"],
        ),
        (
            "cake",
            &[
                "qdisc root handle 5: cake bandwidth 100mbit rtt 50ms dual-dsthost nat",
                "qdisc root handle 5: cake diffserv4 ack-filter overhead 20 mpu 64 memlimit 4m",
                "qdisc root handle 5: cake unlimited besteffort flowblind lan",
            ],
        ),
    ] {
        for line in lines {
            let wanted = items(&[line]);
            match replace(&mut netlink, LOOPBACK, Previous::Nothing, &wanted) {
                Ok(()) => {}
                Err(error @ TcError::Lacks { .. }) => {
                    assert!(
                        !try_run(&format!("tc qdisc add dev lo root {kind}")).0,
                        "tc can, so {error} is wrong"
                    );
                    assert!(error.to_string().contains(&format!("sch_{kind}")), "{error}");
                    fielato_testkit::skip(test, &format!("{line}: {error}"));
                    continue;
                }
                Err(error) => panic!("{line}: {error}"),
            }
            let ours = details();
            // Statistics of one kind (the lines that begin with two spaces or a table) are not shown here.
            let text = run("tc qdisc show dev lo");
            let shown = show(&mut netlink, LOOPBACK).unwrap().remove(0).to_string();
            assert_eq!(shown.lines().next(), text.lines().next(), "{line}");
            clear(&mut netlink, LOOPBACK, Previous::Applied(&wanted)).unwrap();
            for words in [(*line).to_owned(), wanted[0].to_string()] {
                run(&format!("tc {}", words.replacen("qdisc", "qdisc add dev lo", 1)));
                assert_eq!(ours, details(), "{words}");
                run("tc qdisc del dev lo root");
            }
        }
    }
}

#[test]
fn what_the_kernel_lacks_or_refuses_leaves_the_device_alone() {
    let Some(mut netlink) = namespace("what_the_kernel_lacks_or_refuses_leaves_the_device_alone") else {
        return;
    };
    let standing = items(&HTB);
    replace(&mut netlink, LOOPBACK, Previous::Nothing, &standing).unwrap();
    let before = details();
    for bad in [
        // A class whose parent comes later, and a discipline under a class that isn't there.
        &["qdisc root handle 1: htb", "class parent 1:1 classid 1:10 htb rate 1mbit"][..],
        &["qdisc root handle 1: htb", "qdisc parent 1:10 pfifo"],
        &["class parent 1: classid 1:10 htb rate 1mbit"],
        // A discipline where one stands already.
        &["qdisc root handle 1: htb", "qdisc root handle 2: pfifo"],
    ] {
        let error = replace(&mut netlink, LOOPBACK, Previous::Applied(&standing), &items(bad)).unwrap_err();
        assert!(
            matches!(error, TcError::NoParent { .. } | TcError::Refused { .. }),
            "{bad:?}: {error}"
        );
        assert!(error.to_string().contains(bad[bad.len() - 1]), "{error}");
        assert_eq!(details(), before, "{bad:?}");
    }
}

#[test]
fn fairness_between_hosts_is_not_promised_in_vain() {
    let Some(mut netlink) = namespace("fairness_between_hosts_is_not_promised_in_vain") else {
        return;
    };
    let error = replace(
        &mut netlink,
        LOOPBACK,
        Previous::Nothing,
        &items(&["qdisc root fq_codel hosts dst"]),
    )
    .unwrap_err();
    assert!(matches!(error, TcError::KnowsNoHosts { .. }), "{error}");
}

#[test]
fn somebody_elses_root_is_left_alone() {
    let Some(mut netlink) = namespace("somebody_elses_root_is_left_alone") else {
        return;
    };
    run("tc qdisc add dev lo root handle 7: tbf rate 1mbit burst 10k limit 10k");
    let before = details();
    let wanted = items(&HTB);
    for previous in [Previous::Nothing, Previous::Applied(&wanted), Previous::Attempted(&wanted)] {
        for wanted in [&wanted[..], &[]] {
            let error = replace(&mut netlink, LOOPBACK, previous, wanted).unwrap_err();
            assert!(error.to_string().contains("`tbf 7:`"), "{error}");
        }
    }
    assert_eq!(details(), before);
    run("tc qdisc del dev lo root");
    clear(&mut netlink, LOOPBACK, Previous::Applied(&wanted)).unwrap();
}

fn bytes_of(netlink: &mut Netlink, ifindex: u32, handle: &str) -> u64 {
    let shown = show(netlink, ifindex).unwrap();
    let class = shown
        .iter()
        .find(|shown| shown.object == Object::Class && shown.handle == handle);
    class.unwrap_or_else(|| panic!("no class {handle} in {shown:?}")).bytes
}

fn send(count: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..count {
        socket.send_to(&[0; 100], "127.0.0.1:9").unwrap();
    }
}

#[test]
fn a_change_keeps_the_statistics_of_what_stays() {
    let Some(mut netlink) = namespace("a_change_keeps_the_statistics_of_what_stays") else {
        return;
    };
    let tree = |rate: &str, default: &str| {
        items(&[
            &format!("qdisc root handle 1: htb default {default}"),
            "class parent 1: classid 1:30 htb rate 1gbit",
            &format!("class parent 1: classid 1:10 htb rate {rate}"),
        ])
    };
    let first = tree("10mbit", "30");
    replace(&mut netlink, LOOPBACK, Previous::Nothing, &first).unwrap();
    send(10);
    let sent = bytes_of(&mut netlink, LOOPBACK, "1:30");
    assert!(sent >= 10 * 142, "{sent}");

    // Unchanged, and one class changed in place: nothing is torn down.
    replace(&mut netlink, LOOPBACK, Previous::Applied(&first), &first).unwrap();
    let second = tree("12mbit", "30");
    replace(&mut netlink, LOOPBACK, Previous::Applied(&first), &second).unwrap();
    assert!(bytes_of(&mut netlink, LOOPBACK, "1:30") >= sent);
    assert!(run("tc class show dev lo").contains("rate 12Mbit"));

    // A class less; then one more.
    replace(&mut netlink, LOOPBACK, Previous::Applied(&second), &second[..2]).unwrap();
    assert!(!run("tc class show dev lo").contains("1:10"));
    replace(&mut netlink, LOOPBACK, Previous::Applied(&second[..2]), &second).unwrap();
    assert!(run("tc class show dev lo").contains("1:10"));
    assert!(bytes_of(&mut netlink, LOOPBACK, "1:30") >= sent);

    // HTB can't change its default in place.
    let third = tree("12mbit", "10");
    replace(&mut netlink, LOOPBACK, Previous::Applied(&second), &third).unwrap();
    assert_eq!(bytes_of(&mut netlink, LOOPBACK, "1:30"), 0);

    // After a crash nothing is believed, and somebody's interference is repaired.
    send(1);
    replace(&mut netlink, LOOPBACK, Previous::Attempted(&third), &third).unwrap();
    assert_eq!(bytes_of(&mut netlink, LOOPBACK, "1:10"), 0);
    run("tc class del dev lo classid 1:30");
    replace(&mut netlink, LOOPBACK, Previous::Applied(&third), &third).unwrap();
    assert!(run("tc class show dev lo").contains("1:30"));
}

#[test]
fn nft_priorities_put_packets_into_classes() {
    let Some(mut netlink) = namespace("nft_priorities_put_packets_into_classes") else {
        return;
    };
    run("ip link add veth-a type veth peer name veth-b && ip link set veth-a up && ip link set veth-b up");
    run("ip addr add 10.9.0.1/24 dev veth-a && ip addr add fd09::1/64 dev veth-a nodad");
    for address in ["10.9.0.2", "10.9.0.3", "fd09::2", "fd09::3"] {
        run(&format!("ip neigh replace {address} lladdr 02:00:00:00:00:99 dev veth-a"));
    }
    run("nft -f - <<'RULES'
table inet shaping {
    map v4 { type ipv4_addr : classid; elements = { 10.9.0.2 : 1:10, 10.9.0.3 : 1:20 } }
    chain out {
        type filter hook postrouting priority mangle;
        meta priority set ip daddr map @v4
        meta priority set ip6 daddr map { fd09::2 : 1:10, fd09::3 : 1:20 }
    }
}
RULES");
    let ifindex = run("ip -o link show veth-a | cut -d: -f1").trim().parse().unwrap();
    let tree = items(&[
        "qdisc root handle 1: htb default 30",
        "class parent 1: classid 1:10 htb rate 1gbit",
        "class parent 1: classid 1:20 htb rate 1gbit",
        "class parent 1: classid 1:30 htb rate 1gbit",
    ]);
    replace(&mut netlink, ifindex, Previous::Nothing, &tree).unwrap();
    // Bytes on the wire: Ethernet 14, IPv4 20 or IPv6 40, UDP 8, and the payload of 100.
    for (to, handle, frame) in [
        ("10.9.0.2:9", "1:10", 142),
        ("10.9.0.3:9", "1:20", 142),
        ("[fd09::2]:9", "1:10", 162),
        ("[fd09::3]:9", "1:20", 162),
    ] {
        let before = bytes_of(&mut netlink, ifindex, handle);
        let socket = UdpSocket::bind(if to.starts_with('[') { "[fd09::1]:0" } else { "10.9.0.1:0" }).unwrap();
        for _ in 0..25 {
            socket.send_to(&[0; 100], to).unwrap();
        }
        assert_eq!(bytes_of(&mut netlink, ifindex, handle) - before, 25 * frame, "{to}");
    }
}
