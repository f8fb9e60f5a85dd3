//! Rules, and what they are in nft's words.

use fielato_wire::Family;

/// Rules of a table for both families, for IPv4, for IPv6: what they are in nft.
pub struct Cases {
    pub table: &'static str,
    pub families: &'static [Family],
    pub cases: &'static [(&'static str, &'static str)],
}

const BOTH: &[Family] = &[Family::V4, Family::V6];
const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];

pub const CASES: &[Cases] = &[
    Cases {
        table: "filter",
        families: BOTH,
        cases: &[
            ("INPUT", "counter"),
            ("INPUT -j ACCEPT", "counter accept"),
            ("INPUT -j DROP", "counter drop"),
            ("INPUT -j RETURN", "counter return"),
            ("INPUT -j other", "counter jump other"),
            ("INPUT -g other", "counter goto other"),
            ("INPUT -i eth0", "iifname \"eth0\" counter"),
            ("FORWARD -i eth+ ! -o wg+", "iifname \"eth*\" oifname != \"wg*\" counter"),
            ("INPUT -i a* -j DROP", "iifname \"a\\*\" counter drop"),
            ("INPUT -p tcp", "meta l4proto tcp counter"),
            ("INPUT ! -p udp", "meta l4proto != udp counter"),
            ("INPUT -p 99", "meta l4proto 99 counter"),
            ("INPUT -p tcp --dport 22 -j ACCEPT", "tcp dport 22 counter accept"),
            (
                "INPUT -p tcp ! --sport 1000:2000 --dport 80",
                "tcp sport != 1000-2000 tcp dport 80 counter",
            ),
            ("INPUT -p tcp --syn", "tcp flags & (fin | syn | rst | ack) == syn counter"),
            (
                "INPUT -p tcp ! --tcp-flags ALL NONE",
                "tcp flags & (fin | syn | rst | psh | ack | urg) != 0x0 counter",
            ),
            ("INPUT -p tcp --tcp-option 5", "tcp option 5 exists counter"),
            (
                "INPUT -p tcp ! --tcp-option 5",
                "tcp sport 0-65535 tcp option 5 missing counter",
            ),
            // A match without a condition asks for a header.
            ("INPUT -p tcp -m tcp", "tcp sport 0-65535 counter"),
            ("INPUT -p udp -m udp", "udp sport 0-65535 counter"),
            (
                "INPUT -p udp --sport 53 --dport 1024:",
                "udp sport 53 udp dport 1024-65535 counter",
            ),
            (
                "INPUT -p tcp -m multiport --dports 80,443,8000:8010",
                "meta l4proto tcp th dport { 80, 443, 8000-8010 } counter",
            ),
            (
                "INPUT -p udp -m multiport ! --sports 53",
                "meta l4proto udp th sport != 53 counter",
            ),
            (
                "INPUT -p tcp -m multiport --dports 80,81,80:90",
                "meta l4proto tcp th dport 80-90 counter",
            ),
            (
                "INPUT -p tcp -m multiport --ports 22",
                "meta l4proto tcp th sport . th dport { 22 . 0-65535, 0-21 . 22, 23-65535 . 22 } counter",
            ),
            (
                "INPUT -p tcp -m multiport --ports 0,65535",
                "meta l4proto tcp th sport . th dport { 0 . 0-65535, 65535 . 0-65535, 1-65534 . 0, 1-65534 . 65535 } counter",
            ),
            (
                "INPUT -p tcp -m multiport ! --ports 22,23",
                "meta l4proto tcp th sport != 22-23 th dport != 22-23 counter",
            ),
            // Two that are other than one port would become one comparison.
            ("INPUT -p tcp ! --dport 22", "tcp dport != 22 counter"),
            (
                "INPUT -p tcp ! --sport 21 ! --dport 22",
                "tcp sport != 21 tcp dport != 22-22 counter",
            ),
            (
                "INPUT -p udp -m multiport ! --ports 22",
                "meta l4proto udp th sport != 22 th dport != 22-22 counter",
            ),
            (
                "INPUT -p udp -m multiport ! --dports 22 -m udp ! --sport 21",
                "meta l4proto udp th dport != 22-22 udp sport != 21 counter",
            ),
            ("INPUT -p sctp --dport 5:6", "sctp dport 5-6 counter"),
            (
                "INPUT -p sctp --chunk-types all INIT,SACK",
                "sctp chunk init exists sctp chunk sack exists counter",
            ),
            ("INPUT -p sctp --chunk-types any ABORT", "sctp chunk abort exists counter"),
            (
                "INPUT -p sctp ! --chunk-types any INIT,DATA",
                "sctp sport 0-65535 sctp chunk data missing sctp chunk init missing counter",
            ),
            (
                "INPUT -p sctp --chunk-types all DATA:Be",
                "sctp chunk data flags & 0x3 == 0x2 counter",
            ),
            (
                "INPUT -p dccp --dport 5 --dccp-types REQUEST,RESPONSE",
                "dccp dport 5 dccp type { request, response } counter",
            ),
            ("INPUT -p dccp ! --dccp-types RESET", "dccp type != reset counter"),
            ("INPUT -m state --state NEW,ESTABLISHED", "ct state new,established counter"),
            ("INPUT -m conntrack ! --ctstate NEW", "ct state & (new) == 0 counter"),
            (
                "INPUT -m conntrack --ctstate INVALID,UNTRACKED",
                "ct state invalid,untracked counter",
            ),
            ("INPUT -m conntrack --ctstate DNAT", "ct status & (dnat) != 0 counter"),
            (
                "INPUT -m conntrack --ctstatus ASSURED,SEEN_REPLY",
                "ct status & (seen-reply | assured) != 0 counter",
            ),
            (
                "INPUT -m conntrack ! --ctstatus CONFIRMED",
                "ct status & (confirmed) == 0 counter",
            ),
            ("INPUT -m conntrack ! --ctstatus NONE", "ct status & 0x0 == 0 counter"),
            ("INPUT -m conntrack --ctdir REPLY", "ct direction reply counter"),
            (
                "INPUT -m conntrack --ctproto 6 --ctorigdstport 80:90",
                "ct original protocol 6 ct original proto-dst 80-90 counter",
            ),
            (
                "INPUT -p tcp -m conntrack ! --ctreplsrcport 80",
                "meta l4proto tcp ct reply proto-src != 80 counter",
            ),
            ("INPUT -m conntrack --ctexpire 10:20", "ct expiration 10s-20s999ms counter"),
            ("INPUT -m mark --mark 5", "meta mark 0x5 counter"),
            ("INPUT -m mark ! --mark 5/0xff", "meta mark & 0xff != 0x5 counter"),
            ("INPUT -m connmark --mark 0x10/0xf0", "ct mark & 0xf0 == 0x10 counter"),
            (
                "INPUT -m connbytes --connbytes 100: --connbytes-dir both --connbytes-mode bytes",
                "ct bytes >= 100 counter",
            ),
            (
                "INPUT -m connbytes --connbytes 3:9 --connbytes-dir reply --connbytes-mode packets",
                "ct reply packets 3-9 counter",
            ),
            (
                "INPUT -m connbytes ! --connbytes 3:9 --connbytes-dir original --connbytes-mode avgpkt",
                "ct original avgpkt != 3-9 counter",
            ),
            ("INPUT -m connlabel --label 40", "ct label 40 counter"),
            ("INPUT -m connlabel --label 40 --set", "ct label set 40 ct label 40 counter"),
            ("INPUT -m helper --helper ftp", "ct helper \"ftp\" counter"),
            (
                "INPUT -m limit --limit 3/min --limit-burst 3",
                "limit rate 3/minute burst 3 packets counter",
            ),
            (
                "INPUT -m limit --limit 10/s -j ACCEPT",
                "limit rate 10/second burst 5 packets counter accept",
            ),
            // The limit is counted for this protocol's packets alone: the protocol must come first.
            (
                "INPUT -p tcp -m limit --limit 1/h -m tcp --dport 80",
                "meta l4proto tcp limit rate 1/hour burst 5 packets tcp dport 80 counter",
            ),
            ("INPUT -m quota --quota 1000", "quota 1000 bytes counter"),
            ("INPUT -m quota ! --quota 1000", "quota over 1000 bytes counter"),
            ("INPUT -m length --length 86:500", "meta length 86-500 counter"),
            (
                "INPUT -m mac --mac-source 0a:12:3e:4f:b2:c6",
                "ether saddr 0a:12:3e:4f:b2:c6 counter",
            ),
            ("INPUT -m pkttype ! --pkt-type broadcast", "meta pkttype != broadcast counter"),
            (
                "OUTPUT -m owner --uid-owner 0-99 --gid-owner 5",
                "meta skuid 0-99 meta skgid 5 counter",
            ),
            (
                "INPUT -m statistic --mode nth --every 3 --packet 1",
                "numgen inc mod 3 == 1 counter",
            ),
            (
                "INPUT -m statistic --mode random --probability 0.5",
                "meta random & 0x7fffffff < 1073741824 counter",
            ),
            (
                "INPUT -m statistic --mode random ! --probability 0.25",
                "meta random & 0x7fffffff >= 536870912 counter",
            ),
            ("INPUT -m cpu ! --cpu 1", "meta cpu != 1 counter"),
            ("INPUT -m cgroup --cgroup 65537", "meta cgroup 65537 counter"),
            (
                "FORWARD -m devgroup --src-group 2 ! --dst-group 0xc/0xc",
                "meta iifgroup 0x2 meta oifgroup & 0xc != 0xc counter",
            ),
            ("INPUT -p esp -m esp --espspi 500:600", "esp spi 500-600 counter"),
            ("INPUT -p ipcomp -m ipcomp --ipcompspi 18", "comp cpi 18 counter"),
            (
                "INPUT -p tcp -m tcpmss --mss 400:500",
                "tcp option maxseg size 400-500 counter",
            ),
            (
                "INPUT -p tcp -m ecn --ecn-tcp-cwr ! --ecn-tcp-ece",
                "tcp flags & ecn != ecn tcp flags & cwr == cwr counter",
            ),
            (
                "INPUT -m comment --comment \"a word\" -j DROP",
                "counter drop comment \"a word\"",
            ),
            ("INPUT -j LOG", "counter log"),
            (
                "INPUT -p tcp -j LOG --log-prefix \"in: \" --log-level debug --log-uid --log-ip-options --log-tcp-options --log-tcp-sequence",
                "meta l4proto tcp counter log prefix \"in: \" level debug flags tcp sequence,options flags ip options flags skuid",
            ),
            (
                "INPUT -j NFLOG --nflog-group 3 --nflog-prefix x --nflog-size 64 --nflog-threshold 5",
                "counter log prefix \"x\" group 3 snaplen 64 queue-threshold 5",
            ),
            (
                "INPUT -p tcp -j REJECT --reject-with tcp-reset",
                "meta l4proto tcp counter reject with tcp reset",
            ),
            ("INPUT -j CONNMARK --set-mark 7", "counter ct mark set 0x7"),
        ],
    },
    Cases {
        table: "filter",
        families: V4,
        cases: &[
            ("INPUT -s 10.0.0.1", "ip saddr 10.0.0.1 counter"),
            ("INPUT ! -d 10.0.0.0/8", "ip daddr != 10.0.0.0/8 counter"),
            (
                "INPUT -s 10.11.12.13/255.0.255.0",
                "ip saddr & 255.0.255.0 == 10.0.12.0 counter",
            ),
            ("INPUT -f", "ip frag-off & 0x1fff != 0 counter"),
            ("INPUT ! -f", "ip frag-off & 0x1fff == 0 counter"),
            ("INPUT -p icmp --icmp-type echo-request", "icmp type 8 counter"),
            (
                "INPUT -p icmp ! --icmp-type 3/1",
                "icmp type . icmp code != { 3 . 1 } counter",
            ),
            ("INPUT -p icmp --icmp-type 3/1", "icmp type 3 icmp code 1 counter"),
            ("INPUT -m ttl --ttl-gt 5", "ip ttl > 5 counter"),
            ("INPUT -m ttl ! --ttl-eq 5", "ip ttl != 5 counter"),
            ("INPUT -m tos --tos 0x10/0xfc", "@nh,8,8 & 0xfc == 0x10 counter"),
            ("INPUT -m dscp ! --dscp 4", "ip dscp != 0x4 counter"),
            ("INPUT -m ecn --ecn-ip-ect 1", "ip ecn 1 counter"),
            (
                "INPUT -m iprange --src-range 10.0.0.5-10.0.0.9 ! --dst-range 1.1.1.1-1.1.1.2",
                "ip saddr 10.0.0.5-10.0.0.9 ip daddr != 1.1.1.1-1.1.1.2 counter",
            ),
            (
                "INPUT -m addrtype --dst-type LOCAL,BROADCAST",
                "fib daddr type { local, broadcast } counter",
            ),
            (
                "INPUT -m addrtype ! --src-type LOCAL --limit-iface-in",
                "fib saddr . iif type != local counter",
            ),
            (
                "INPUT -p udp -m connlimit --connlimit-above 2 --connlimit-mask 24",
                "meta l4proto udp add @connlimit0 { ip saddr & 255.255.255.0 ct count over 2 } counter",
            ),
            (
                "INPUT -m state --state NEW -m connlimit --connlimit-upto 2 --connlimit-daddr",
                "ct state new add @connlimit0 { ip daddr ct count 2 } counter",
            ),
            ("INPUT -m realm ! --realm 5/0xf", "meta rtclassid & 0xf != 0x5 counter"),
            ("INPUT -p ah -m ah --ahspi 5", "ah spi 5 counter"),
            (
                "INPUT -m conntrack --ctorigsrc 10.0.0.0/8 ! --ctrepldst 1.2.3.4",
                "ct original ip saddr 10.0.0.0/8 ct reply ip daddr != 1.2.3.4 counter",
            ),
            ("INPUT -j REJECT", "counter reject with icmp type port-unreachable"),
            (
                "INPUT -j REJECT --reject-with icmp-net-prohibited",
                "counter reject with icmp type net-prohibited",
            ),
        ],
    },
    Cases {
        table: "filter",
        families: V6,
        cases: &[
            (
                "INPUT -s fe80::/10 ! -d 2001:db8::1",
                "ip6 saddr fe80::/10 ip6 daddr != 2001:db8::1 counter",
            ),
            ("INPUT -p icmpv6 --icmpv6-type echo-request", "icmpv6 type 128 counter"),
            ("INPUT -m hl --hl-lt 5", "ip6 hoplimit < 5 counter"),
            ("INPUT -m tos --tos 0x10", "@nh,0,16 & 0xff0 == 0x100 counter"),
            ("INPUT -m tos ! --tos 0x01/0x03", "@nh,0,16 & 0x30 != 0x10 counter"),
            (
                "INPUT -m frag --fragid 1:5 --fragfirst --fragmore",
                "frag id 1-5 frag frag-off 0 frag more-fragments 1 counter",
            ),
            (
                "INPUT -m rt --rt-type 2 --rt-segsleft 1 --rt-len 24",
                "rt seg-left 1 rt type 2 rt hdrlength 2 counter",
            ),
            ("INPUT -m hbh --hbh-len 24", "hbh hdrlength 2 counter"),
            ("INPUT -m hbh --hbh-len 22", "iifname \"INVAL/D\" counter"),
            ("INPUT -m dst ! --dst-len 8", "dst hdrlength != 0 counter"),
            ("INPUT -p mh -m mh --mh-type 1:3", "meta l4proto 135 mh type 1-3 counter"),
            ("INPUT -m iprange ! --dst-range ::1-::5", "ip6 daddr != ::1-::5 counter"),
            ("INPUT -m addrtype --dst-type LOCAL", "fib daddr type local counter"),
            (
                "INPUT -p tcp --syn -m connlimit --connlimit-above 2 --connlimit-mask 64",
                "tcp flags & (fin | syn | rst | ack) == syn add @connlimit0 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over 2 } counter",
            ),
            ("INPUT -j REJECT", "counter reject with icmpv6 type port-unreachable"),
            (
                "INPUT -j REJECT --reject-with icmp6-adm-prohibited",
                "counter reject with icmpv6 type admin-prohibited",
            ),
        ],
    },
    Cases {
        table: "mangle",
        families: BOTH,
        cases: &[
            ("PREROUTING -j MARK --set-mark 7", "counter meta mark set 0x7"),
            (
                "PREROUTING -j MARK --set-xmark 0x105/0xff",
                "counter meta mark set meta mark & 0xffffff00 ^ 0x105",
            ),
            (
                "PREROUTING -j MARK --or-mark 0x10",
                "counter meta mark set meta mark & 0xffffffef ^ 0x10",
            ),
            ("PREROUTING -j MARK --xor-mark 0x10", "counter meta mark set meta mark ^ 0x10"),
            ("PREROUTING -j CONNMARK --save-mark", "counter ct mark set meta mark"),
            (
                "PREROUTING -j CONNMARK --restore-mark --ctmask 0xff --nfmask 0xffffffff",
                "counter meta mark set ct mark & 0xff",
            ),
            (
                "PREROUTING -j CONNMARK --set-xmark 0x5/0xff --left-shift-mark 3",
                "counter ct mark set (ct mark & 0xffffff00 ^ 0x5) << 3",
            ),
            ("POSTROUTING -j CLASSIFY --set-class 1:234", "counter meta priority set 1:234"),
            (
                "FORWARD -p tcp --syn -j TCPMSS --clamp-mss-to-pmtu",
                "tcp flags & (fin | syn | rst | ack) == syn counter tcp option maxseg size set rt mtu",
            ),
            (
                "FORWARD -p tcp --syn -j TCPMSS --set-mss 1220",
                "tcp flags & (fin | syn | rst | ack) == syn counter tcp option maxseg size set 1220",
            ),
            ("PREROUTING -m rpfilter", "fib saddr . iif oif != 0 counter"),
            (
                "PREROUTING -m rpfilter --loose --validmark --invert",
                "fib saddr . mark oif == 0 counter",
            ),
            ("OUTPUT -j MARK --set-mark 1", "counter meta mark set 0x1"),
            (
                "FORWARD -p tcp -j TCPOPTSTRIP --strip-options 5,8",
                "meta l4proto tcp counter reset tcp option 5 reset tcp option 8",
            ),
        ],
    },
    Cases {
        table: "mangle",
        families: V4,
        cases: &[
            ("PREROUTING -j TTL --ttl-set 64", "counter ip ttl set 64"),
            ("PREROUTING -j TOS --set-tos 0x13", "counter ip dscp set 0x4 ip ecn set 0x3"),
            ("PREROUTING -j DSCP --set-dscp 4", "counter ip dscp set 0x4"),
            (
                "PREROUTING -j TEE --gateway 10.0.0.1 --oif lo",
                "counter dup to 10.0.0.1 device \"lo\"",
            ),
        ],
    },
    Cases {
        table: "mangle",
        families: V6,
        cases: &[
            ("PREROUTING -j HL --hl-set 64", "counter ip6 hoplimit set 64"),
            ("PREROUTING -j TOS --set-tos 0x10/0xfc", "counter ip6 dscp set 0x4"),
        ],
    },
    Cases {
        table: "nat",
        families: BOTH,
        cases: &[
            ("POSTROUTING -o eth0 -j MASQUERADE", "oifname \"eth0\" counter masquerade"),
            (
                "POSTROUTING -p tcp -j MASQUERADE --to-ports 10-20 --random",
                "meta l4proto tcp counter masquerade to :10-20 random",
            ),
            (
                "PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080",
                "tcp dport 80 counter redirect to :8080",
            ),
            ("PREROUTING -j REDIRECT", "counter redirect"),
            (
                "PREROUTING -p udp -j DNAT --to-destination :53",
                "meta l4proto udp counter dnat to :53",
            ),
        ],
    },
    Cases {
        table: "nat",
        families: V4,
        cases: &[
            ("PREROUTING -j DNAT --to-destination 10.0.0.1", "counter dnat to 10.0.0.1"),
            (
                "PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9:1-20 --random --persistent",
                "meta l4proto tcp counter dnat to 10.0.0.1-10.0.0.9:1-20 random,persistent",
            ),
            (
                "POSTROUTING -j SNAT --to-source 192.0.2.1 --random-fully",
                "counter snat to 192.0.2.1 fully-random",
            ),
            (
                "PREROUTING -d 10.2.0.0/16 -j NETMAP --to 10.1.0.0/16",
                "ip daddr 10.2.0.0/16 counter dnat ip prefix to 10.1.0.0/16",
            ),
            (
                "POSTROUTING -s 10.2.0.0/15 -j NETMAP --to 10.1.0.0/16",
                "ip saddr 10.2.0.0/15 counter snat ip prefix to 10.1.0.0/16",
            ),
        ],
    },
    Cases {
        table: "nat",
        families: V6,
        cases: &[
            (
                "PREROUTING -j DNAT --to-destination fec0::1-fec0::9",
                "counter dnat to fec0::1-fec0::9",
            ),
            (
                "PREROUTING -p tcp -j DNAT --to-destination [fec0::1]:80",
                "meta l4proto tcp counter dnat to [fec0::1]:80",
            ),
            (
                "POSTROUTING -p tcp -j SNAT --to-source [fec0::1-fec0::9]:80-90",
                "meta l4proto tcp counter snat to [fec0::1]-[fec0::9]:80-90",
            ),
            ("PREROUTING -j NETMAP --to fd00::/64", "counter dnat ip6 prefix to fd00::/64"),
        ],
    },
    Cases {
        table: "raw",
        families: BOTH,
        cases: &[
            ("PREROUTING -j CT --notrack", "counter notrack"),
            ("PREROUTING -j CT --zone 5", "counter ct state != untracked ct zone set 5"),
            (
                "PREROUTING -j CT --zone-orig 5",
                "counter ct state != untracked ct original zone set 5",
            ),
        ],
    },
];

/// What nft can't say, and a word of the reason.
pub const INEXPRESSIBLE: &[(&str, &str, &str)] = &[
    (
        "filter",
        "INPUT -m conntrack --ctstate NEW,DNAT",
        "-m conntrack: nft can't ask for a state or a translation",
    ),
    (
        "filter",
        "INPUT -m conntrack ! --ctstate DNAT",
        "packets without a connection",
    ),
    ("filter", "INPUT -m conntrack --ctorigdstport 80", "needs the protocol"),
    (
        "filter",
        "INPUT -p tcp -m connlimit --connlimit-above 2",
        "packets of closed connections",
    ),
    ("filter", "INPUT -p tcp -m tcpmss ! --mss 500", "packets without the option"),
    ("filter", "INPUT -p sctp --chunk-types any INIT,DATA", "any of several chunks"),
    ("filter", "INPUT -p sctp --chunk-types only INIT", "no other chunk"),
    ("filter", "INPUT -j LOG --log-prefix a$b", "nft can't quote '$'"),
    ("filter", "INPUT -m helper ! --helper ftp", "-m helper"),
    ("filter", "OUTPUT -m owner --socket-exists", "-m owner"),
    (
        "mangle",
        "FORWARD -p tcp --syn -j TCPMSS --set-mss 500",
        "-j TCPMSS: nft can't add the option",
    ),
    (
        "mangle",
        "PREROUTING -j CONNMARK --save-mark --ctmask 0xff --nfmask 0xff",
        "two marks",
    ),
    ("mangle", "PREROUTING -j TOS --set-tos 0x10/0x3c", "-j TOS"),
    ("mangle", "PREROUTING -m rpfilter --accept-local", "local addresses"),
    ("mangle", "PREROUTING -p tcp -j TPROXY --on-port 80", "no socket takes"),
    ("raw", "OUTPUT -m conntrack --ctdir ORIGINAL", "what -j CT left"),
    ("raw", "OUTPUT -m connmark --mark 1", "what -j CT left"),
    ("raw", "OUTPUT -j CONNMARK --set-mark 1", "what -j CT left"),
    ("raw", "PREROUTING -p tcp -j CT --helper ftp", "only after tracking"),
];
