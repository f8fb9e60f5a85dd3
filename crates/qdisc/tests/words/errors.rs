//! Words that tc would not take.

use fielato_qdisc::{class, filter, qdisc};

use crate::values::Numbers;

/// Wrong words, the word that must be blamed (empty: the end), and what must be said.
#[test]
fn errors_point_at_the_word_and_say_what_would_be_right() {
    for (words, blamed, said) in [
        ("", "", "one of htb, prio, tbf"),
        ("root", "", "one of htb, prio, tbf"),
        ("netem delay 1ms", "netem", "`root` or `parent CLASSID`"),
        ("root nettem delay 1ms", "nettem", "did you mean `netem`?"),
        (
            "root hfsc",
            "hfsc",
            "htb, prio, tbf, sfq, netem, fq_codel, codel, cake, pfifo, bfifo",
        ),
        ("tc qdisc add dev wg0 root netem", "tc", "what follows `tc qdisc add dev DEV`"),
        ("root dev wg0 netem", "dev", "what follows `tc qdisc add dev DEV`"),
        ("root root netem", "root", "sets what was set before"),
        ("root handle 1:5 htb", "handle", "no minor number"),
        ("root handle 0: htb", "0:", "MAJOR:MINOR"),
        ("root classid 1:1 htb", "classid", "`handle MAJOR:`"),
        ("root netem delay", "delay", "wants a time"),
        ("root netem delay 5 apples", "apples", "an option of netem"),
        ("root netem dleay 5ms", "dleay", "did you mean `delay`?"),
        ("root netem delay 5m", "5m", "a time such as 20ms"),
        ("root netem delay 5ms 25%", "25%", "a time such as 20ms"),
        ("root netem loss 120%", "120%", "0% to 100%"),
        ("root netem loss gemodel", "gemodel", "wants a percentage"),
        ("root netem loss state 1% 200%", "200%", "0% to 100%"),
        (
            "root netem delay 1ms distribution normal",
            "distribution",
            "needs a delay and its jitter",
        ),
        (
            "root netem delay 5ms 1ms distribution norml",
            "norml",
            "did you mean `normal`?",
        ),
        ("root netem delay 5ms 1ms distribution", "distribution", "wants its name"),
        ("root netem delay 5ms ecn", "ecn", "needs `loss`"),
        ("root netem loss 0% ecn", "ecn", "needs `loss`"),
        ("root netem rate 1mbit 14 8x", "8x", "a whole number"),
        ("root netem slot 5ms 1ms", "1ms", "below its shortest"),
        ("root netem slot packets 5", "packets", "a time such as 800us"),
        ("root netem slot distribution normal 5ms 0", "0", "a time such as 800us"),
        ("root netem seed -1", "-1", "in decimal"),
        ("root fq_codel hosts both", "both", "src, dst or none"),
        ("root codel flows 5", "flows", "an option of codel"),
        ("root netem reorder 25%", "netem", "needs a `delay`"),
        ("root netem delay 1ms gap 5", "netem", "needs `reorder`"),
        ("root netem delay 1ms delay 2ms", "delay", "sets what was set before"),
        ("root tbf rate 1mbit latency 1ms", "tbf", "needs `rate` and `burst`"),
        ("root tbf rate 1mbit burst 10k", "tbf", "needs `latency` or `limit`"),
        ("root tbf rate 1mbit burst 10k latency 1ms limit 10k", "latency", "not both"),
        ("root tbf rate 1mbit burst 10k limit 10k peakrate 2mbit", "tbf", "needs `mtu`"),
        (
            "root tbf rate 1mbit burst 10k limit 10k peakrate 1mbit mtu 1500",
            "tbf",
            "above its `rate`",
        ),
        ("root tbf rate 100gbit burst 10k latency 1s", "latency", "4 GB"),
        ("root tbf rate 10mb burst 10k latency 1s", "10mb", "a rate such as 10mbit"),
        ("root htb default 12345", "12345", "hexadecimal"),
        ("root htb direct_qlen 5", "direct_qlen", "default, r2q"),
        ("root fq_codel flows 0", "0", "1 to 65536"),
        ("root cake bandwith 1mbit", "bandwith", "did you mean `bandwidth`?"),
        ("root cake nat nonat", "nonat", "sets what was set before"),
        ("root cake overhead 300", "300", "-64 to 256"),
        ("root pfifo limit 10k", "10k", "a whole number"),
        ("root prio bands 17", "17", "2 to 16"),
        ("root prio bands 2", "prio", "give `priomap`"),
        ("root prio priomap", "priomap", "wants a band"),
        ("root sfq divisor 1000", "1000", "power of two"),
        ("root sfq redflowlimit 100", "redflowlimit", "fq_codel"),
        ("root stab htb", "stab", "wants one of"),
        ("root stab linklayer adls htb", "adls", "did you mean `adsl`?"),
    ] {
        expect(qdisc(words).map(|_| ()), words, blamed, said);
    }
    for (words, blamed, said) in [
        ("parent 1: classid 1:10", "", "`htb`"),
        ("root classid 1:10 htb rate 1mbit", "root", "`parent 1:`"),
        ("classid 1:10 htb rate 1mbit", "htb", "`parent HANDLE`"),
        ("parent 1: htb rate 1mbit", "htb", "`classid MAJOR:MINOR`"),
        ("parent 1: classid 1: htb rate 1mbit", "1:", "minor number"),
        ("parent 1: classid 2:10 htb rate 1mbit", "2:10", "1:10"),
        ("parent 1:10 classid 1:10 htb rate 1mbit", "1:10", "its own parent"),
        ("parent 1: classid 1:10 hfsc rate 1mbit", "hfsc", "htb"),
        ("parent 1: classid 1:10 htb", "htb", "needs a rate"),
        ("parent 1: classid 1:10 htb rate 0", "0", "a rate such as"),
        ("parent 1: classid 1:10 htb rate 1mbit prio 9", "9", "0 to 7"),
    ] {
        expect(class(words).map(|_| ()), words, blamed, said);
    }
}

pub fn expect(result: Result<(), fielato_qdisc::ParseError>, words: &str, blamed: &str, said: &str) {
    let error = result.expect_err(words);
    let at = &words[error.offset..];
    assert_eq!(at.split(' ').next(), Some(blamed), "{words}: {error}");
    assert!(error.message.contains(said), "{words}: {error}");
}

/// Whatever is typed, it is read or refused at a place within it; nothing panics.
#[test]
fn any_words_are_read_or_refused() {
    const WORDS: [&str; 60] = [
        "tc",
        "-s",
        "-j",
        "qdisc",
        "class",
        "filter",
        "add",
        "del",
        "show",
        "dev",
        "wg0",
        "root",
        "parent",
        "handle",
        "classid",
        "1:",
        "1:1",
        "ffff:",
        "0",
        "5",
        "0x10",
        "99999999999",
        "-1",
        "10mbit",
        "1.5ms",
        "25%",
        "htb",
        "rate",
        "ceil",
        "tbf",
        "burst",
        "limit",
        "netem",
        "delay",
        "loss",
        "state",
        "reorder",
        "prio",
        "bands",
        "priomap",
        "sfq",
        "divisor",
        "stab",
        "overhead",
        "linklayer",
        "atm",
        "u32",
        "match",
        "ip",
        "ip6",
        "src",
        "10.0.0.0/8",
        "::1",
        "at",
        "nexthdr+3",
        "fw",
        "flower",
        "dst_port",
        "\u{fc}ber",
        "\t\u{a0}",
    ];
    let mut numbers = Numbers(3);
    for _ in 0..60_000 {
        let mut text = String::new();
        for _ in 0..numbers.below(14) {
            text.push_str(WORDS[numbers.below(60) as usize]);
            text.push_str([" ", "  ", "\n"][numbers.below(3) as usize]);
        }
        let results = [
            fielato_qdisc::tc::Command::parse(&text).err(),
            qdisc(&text).err(),
            class(&text).err(),
            filter(&text).err(),
        ];
        for error in results.into_iter().flatten() {
            assert!(text.is_char_boundary(error.offset), "{text:?}: {error}");
            assert!(!error.message.is_empty());
        }
    }
}
