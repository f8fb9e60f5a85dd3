//! Matches in iptables' words: what `-S` and `-L -n` print of them, as the real program (1.8.9) does.

mod common;

use fielato_netfilter::Ruleset;
use fielato_wire::Family;

/// Family, table, chain, rule, what `-S` prints after the chain, what `-L -n` prints after the addresses.
type Case = (Family, &'static str, &'static str, &'static str, &'static str, &'static str);

fn run(rules: &mut Ruleset, words: &str) -> String {
    let split: Vec<&str> = words.split_whitespace().map(|word| word.trim_matches('"')).collect();
    let output = common::run(rules, &split).unwrap_or_else(|error| panic!("{words}: {error}"));
    output.out
}

#[test]
fn saved_and_listed_as_iptables_does() {
    for &(family, table, chain, rule, saved, listed) in CASES {
        let mut rules = Ruleset::new(family);
        run(&mut rules, &format!("-t {table} -A {chain} {rule}"));
        let text = run(&mut rules, &format!("-t {table} -S {chain}"));
        let line = text.lines().find(|line| line.starts_with("-A")).unwrap_or("");
        assert_eq!(line.trim_end(), format!("-A {chain} {saved}"), "-S of {rule}");
        let mut again = Ruleset::new(family);
        run(&mut again, &format!("-t {table} {line}"));
        assert_eq!(run(&mut again, &format!("-t {table} -S {chain}")), text, "read back: {rule}");
        let text = run(&mut rules, &format!("-t {table} -n -L {chain}"));
        let line = text.lines().nth(2).unwrap_or("").trim_end();
        assert!(line.ends_with(listed), "-L of {rule}: {line:?} should end with {listed:?}");
    }
}

const V4: Family = Family::V4;
const V6: Family = Family::V6;

#[rustfmt::skip]
const CASES: &[Case] = &[
    (V6, "filter", "INPUT", "-p tcp -m tcpmss --mss 42", "-p tcp -m tcpmss --mss 42", "tcpmss match 42"),
    (V4, "filter", "INPUT", "-p tcp -m tcpmss --mss 42:12345", "-p tcp -m tcpmss --mss 42:12345", "tcpmss match 42:12345"),
    (V6, "filter", "INPUT", "-p tcp -m tcpmss --mss 42:12345", "-p tcp -m tcpmss --mss 42:12345", "tcpmss match 42:12345"),
    (V4, "filter", "INPUT", "-p tcp -m tcp --sport http --dport 22:ssh", "-p tcp -m tcp --sport 80 --dport 22", "tcp spt:80 dpt:22"),
    (V4, "filter", "INPUT", "-p tcp --dport http", "-p tcp -m tcp --dport 80", "tcp dpt:80"),
    (V4, "filter", "INPUT", "-p tcp ! --tcp-option 5 ! --syn", "-p tcp -m tcp ! --tcp-option 5 ! --tcp-flags FIN,SYN,RST,ACK SYN", "tcp option=!5 flags:!0x17/0x02"),
    (V4, "filter", "INPUT", "-p tcp --tcp-flags ALL NONE", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE", "tcp flags:0x3F/0x00"),
    (V4, "filter", "INPUT", "-p tcp --sport 0:65535", "-p tcp -m tcp", "tcp"),
    (V4, "filter", "INPUT", "-p tcp ! --sport 0:65535", "-p tcp -m tcp", "tcp spts:!0:65535"),
    (V4, "filter", "INPUT", "-p tcp --sport :5 --dport 7:", "-p tcp -m tcp --sport 0:5 --dport 7:65535", "tcp spts:0:5 dpts:7:65535"),
    (V4, "filter", "INPUT", "-p udp --sport domain --dport 65536", "-p udp -m udp --sport 53 --dport 0", "udp spt:53 dpt:0"),
    (V4, "filter", "INPUT", "-p udp --sport 9:5", "-p udp -m udp --sport 9:5", "udp spts:9:5"),
    (V4, "filter", "INPUT", "-p icmp --icmp-type 3/4", "-p icmp -m icmp --icmp-type 3/4", "icmptype 3 code 4"),
    (V4, "filter", "INPUT", "-p icmp ! --icmp-type 3/4:5", "-p icmp -m icmp ! --icmp-type 3/4", "icmp !type 3 codes 4-5"),
    (V4, "filter", "INPUT", "-p icmp ! --icmp-type 3", "-p icmp -m icmp ! --icmp-type 3", "icmp !type 3"),
    (V4, "filter", "INPUT", "-p icmp --icmp-type 8", "-p icmp -m icmp --icmp-type 8", "icmptype 8"),
    (V4, "filter", "INPUT", "-p icmp --icmp-type 200", "-p icmp -m icmp --icmp-type 200", "icmptype 200"),
    (V4, "filter", "INPUT", "-p icmp --icmp-type port-unreach", "-p icmp -m icmp --icmp-type 3/3", "icmptype 3 code 3"),
    (V4, "filter", "INPUT", "-p icmp --icmp-type any", "-p icmp -m icmp --icmp-type any", "icmptype 255"),
    (V4, "filter", "INPUT", "-p icmp ! --icmp-type any", "-p icmp -m icmp ! --icmp-type any", "icmp !type 255"),
    (V6, "filter", "INPUT", "-p ipv6-icmp --icmpv6-type echo-request", "-p ipv6-icmp -m icmp6 --icmpv6-type 128", "ipv6-icmptype 128"),
    (V6, "filter", "INPUT", "-p ipv6-icmp ! --icmpv6-type 1/3", "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/3", "ipv6-icmp !type 1 code 3"),
    (V6, "filter", "INPUT", "-p ipv6-icmp --icmpv6-type 200/3", "-p ipv6-icmp -m icmp6 --icmpv6-type 200/3", "ipv6-icmptype 200 code 3"),
    (V4, "filter", "INPUT", "-p tcp -m multiport ! --dports 22,80,http,ssh:100", "-p tcp -m multiport ! --dports 22,80,80,22:100", "multiport dports  !22,80,80,22:100"),
    (V4, "filter", "INPUT", "-m conntrack ! --ctstate NEW,INV ! --ctproto tcp --ctstatus ASSURED,CONF --ctexpire 5:10", "-m conntrack ! --ctstate INVALID,NEW ! --ctproto 6 --ctstatus ASSURED,CONFIRMED --ctexpire 5:10", "! ctstate INVALID,NEW ! ctproto 6 ctstatus ASSURED,CONFIRMED ctexpire 5:10"),
    (V4, "filter", "INPUT", "-m conntrack --ctorigsrc 10.0.0.0/8 ! --ctorigdst 1.2.3.4/255.255.0.0 --ctreplsrc 0.0.0.0/0 --ctrepldst 1.2.3.4/255.0.255.0", "-m conntrack --ctorigsrc 10.0.0.0/8 ! --ctorigdst 1.2.3.4/16 --ctreplsrc 0.0.0.0/0 --ctrepldst 1.2.3.4", "ctorigsrc 10.0.0.0/8 ! ctorigdst 1.2.3.4/16 ctreplsrc 0.0.0.0/0 ctrepldst 1.2.3.4"),
    (V4, "filter", "INPUT", "-m conntrack --ctorigsrc 10.1.2.3/8", "-m conntrack --ctorigsrc 10.1.2.3/8", "ctorigsrc 10.1.2.3/8"),
    (V6, "filter", "INPUT", "-m conntrack --ctorigsrc 2001:db8::/32 --ctrepldst ::1", "-m conntrack --ctorigsrc 2001:db8::/32 --ctrepldst ::1", "ctorigsrc 2001:db8::/32 ctrepldst ::1"),
    (V4, "filter", "INPUT", "-m conntrack --ctorigsrcport 1:5 ! --ctorigdstport 22 --ctreplsrcport 80 --ctrepldstport 5:", "-m conntrack --ctorigsrcport 1:5 ! --ctorigdstport 22 --ctreplsrcport 80 --ctrepldstport 5:65535", "ctorigsrcport 1:5 ! ctorigdstport 22 ctreplsrcport 80 ctrepldstport 5:65535"),
    (V4, "filter", "INPUT", "-m conntrack --ctorigsrcport http", "-m conntrack --ctorigsrcport 80", "ctorigsrcport 80"),
    (V4, "filter", "INPUT", "-m conntrack --ctstatus NONE,ASSURED", "-m conntrack --ctstatus ASSURED", "ctstatus ASSURED"),
    (V4, "filter", "INPUT", "-m conntrack --ctproto 0", "-m conntrack --ctproto 0", "ctproto 0"),
    (V4, "filter", "INPUT", "-m state ! --state NEW,EST", "-m state ! --state NEW,ESTABLISHED", "! state NEW,ESTABLISHED"),
    (V4, "filter", "INPUT", "-m mark ! --mark 0x1/0xff", "-m mark ! --mark 0x1/0xff", "mark match ! 0x1/0xff"),
    (V4, "filter", "INPUT", "-m mark --mark 010", "-m mark --mark 0x8", "mark match 0x8"),
    (V4, "filter", "INPUT", "-m connmark ! --mark 1/2", "-m connmark ! --mark 0x1/0x2", "connmark match ! 0x1/0x2"),
    (V4, "filter", "INPUT", "-m limit", "-m limit --limit 3/hour", "limit: avg 3/hour burst 5"),
    (V4, "filter", "INPUT", "-m limit --limit 5", "-m limit --limit 5/sec", "limit: avg 5/sec burst 5"),
    (V4, "filter", "INPUT", "-m limit --limit 10/m --limit-burst 7", "-m limit --limit 10/min --limit-burst 7", "limit: avg 10/min burst 7"),
    (V4, "filter", "INPUT", "-m limit --limit 7/day", "-m limit --limit 7/day", "limit: avg 7/day burst 5"),
    (V4, "filter", "INPUT", "-m limit --limit 90/minute", "-m limit --limit 90/min", "limit: avg 90/min burst 5"),
    (V4, "filter", "INPUT", "-m limit --limit 10000/s", "-m limit --limit 10000/sec", "limit: avg 10000/sec burst 5"),
    (V4, "filter", "INPUT", "-m length --length 10:5", "-m length --length 10:5", "length 10:5"),
    (V4, "filter", "INPUT", "-m ttl --ttl 5", "-m ttl --ttl-eq 5", "TTL match TTL == 5"),
    (V4, "filter", "INPUT", "-m ttl ! --ttl 5", "-m ttl ! --ttl-eq 5", "TTL match TTL != 5"),
    (V6, "filter", "INPUT", "-m hl --hl 5", "-m hl --hl-eq 5", "HL match HL == 5"),
    (V6, "filter", "INPUT", "-m tos --tos Minimize-Delay", "-m tos --tos 0x10/0x3f", "tos match0x10/0x3f"),
    (V4, "filter", "INPUT", "-m tos ! --tos Minimize-Delay", "-m tos ! --tos 0x10/0x3f", "tos match!0x10/0x3f"),
    (V4, "filter", "INPUT", "-m tos --tos 0x10/0x3f", "-m tos --tos 0x10/0x3f", "tos match0x10/0x3f"),
    (V4, "filter", "INPUT", "-m dscp ! --dscp-class AF11", "-m dscp ! --dscp 0x0a", "DSCP match !0x0a"),
    (V4, "filter", "INPUT", "-m dscp --dscp-class ef", "-m dscp --dscp 0x2e", "DSCP match 0x2e"),
    (V4, "filter", "INPUT", "-m mac ! --mac-source 2:A:b:0:1:ff", "-m mac ! --mac-source 02:0a:0b:00:01:ff", "MAC ! 02:0a:0b:00:01:ff"),
    (V4, "filter", "INPUT", "-m iprange --src-range 1.1.1.1 ! --dst-range 2.2.2.2-3.3.3.3", "-m iprange --src-range 1.1.1.1-1.1.1.1 ! --dst-range 2.2.2.2-3.3.3.3", "source IP range 1.1.1.1-1.1.1.1 destination IP range ! 2.2.2.2-3.3.3.3"),
    (V6, "filter", "INPUT", "-m iprange --src-range fe80::1-fe80::5", "-m iprange --src-range fe80::1-fe80::5", "source IP range fe80::1-fe80::5"),
    (V4, "filter", "INPUT", "-m addrtype ! --src-type LOC,UNI ! --dst-type BROADCAST --limit-iface-in", "-m addrtype ! --src-type UNICAST,LOCAL ! --dst-type BROADCAST --limit-iface-in", "ADDRTYPE match src-type !UNICAST,LOCAL dst-type !BROADCAST limit-in"),
    (V6, "filter", "INPUT", "-m addrtype --dst-type UNREACHABLE", "-m addrtype --dst-type UNREACHABLE", "ADDRTYPE match dst-type UNREACHABLE"),
    (V4, "filter", "FORWARD", "-m addrtype --dst-type LOCAL --limit-iface-out", "-m addrtype --dst-type LOCAL --limit-iface-out", "ADDRTYPE match dst-type LOCAL limit-out"),
    (V4, "filter", "INPUT", "-p ah -m ah --ahspi 5:", "-p ah -m ah --ahspi 5:4294967295", "ah spis:5:4294967295"),
    (V6, "filter", "INPUT", "-m ah --ahspi 5:9 ! --ahlen 5 --ahres", "-m ah --ahspi 5:9 ! --ahlen 5 --ahres", "ah spis:5:9length:!5 reserved"),
    (V6, "filter", "INPUT", "-m ah --ahlen 0", "-m ah", "ah"),
    (V4, "mangle", "INPUT", "-m cluster --cluster-total-nodes 2 ! --cluster-local-nodemask 3 --cluster-hash-seed 1", "-m cluster ! --cluster-local-nodemask 0x00000003 --cluster-total-nodes 2 --cluster-hash-seed 0x00000001", "cluster !node_mask=0x00000003 total_nodes=2 hash_seed=0x00000001"),
    (V4, "filter", "INPUT", "-m connbytes ! --connbytes 5:10 --connbytes-mode bytes --connbytes-dir both", "-m connbytes ! --connbytes 5:10 --connbytes-mode bytes --connbytes-dir both", "! connbytes 5:10 connbytes mode bytes connbytes direction both"),
    (V4, "filter", "INPUT", "-m connbytes --connbytes 5 --connbytes-mode bytes --connbytes-dir both", "-m connbytes --connbytes 5 --connbytes-mode bytes --connbytes-dir both", "connbytes 5 connbytes mode bytes connbytes direction both"),
    (V4, "filter", "INPUT", "-m connbytes ! --connbytes 5: --connbytes-mode bytes --connbytes-dir both", "-m connbytes ! --connbytes 5 --connbytes-mode bytes --connbytes-dir both", "! connbytes 5 connbytes mode bytes connbytes direction both"),
    (V4, "filter", "INPUT", "-m connlabel ! --label 5 --set", "-m connlabel ! --label \"5\" --set", "connlabel ! 5 set"),
    (V4, "filter", "INPUT", "-m connlimit ! --connlimit-upto 5 --connlimit-mask 24", "-m connlimit --connlimit-above 5 --connlimit-mask 24 --connlimit-saddr", "#conn src/24 > 5"),
    (V4, "filter", "INPUT", "-m connlimit --connlimit-above 5 --connlimit-mask 255.255.0.0 --connlimit-daddr", "-m connlimit --connlimit-above 5 --connlimit-mask 16 --connlimit-daddr", "#conn dst/16 > 5"),
    (V6, "filter", "INPUT", "-m connlimit --connlimit-above 5 --connlimit-mask 64", "-m connlimit --connlimit-above 5 --connlimit-mask 64 --connlimit-saddr", "#conn src/64 > 5"),
    (V4, "filter", "INPUT", "-m connlimit --connlimit-above 5 --connlimit-mask 33", "-m connlimit --connlimit-above 5 --connlimit-mask 32 --connlimit-saddr", "#conn src/32 > 5"),
    (V4, "filter", "INPUT", "-p dccp -m dccp --sport 1:5 ! --dport 7 ! --dccp-types ACK,INVALID ! --dccp-option 5", "-p dccp -m dccp --sport 1:5 ! --dport 7 ! --dccp-types ACK,INVALID ! --dccp-option 5", "dccp spts:1:5 dpt:!7 ! 3,10,11,12,13,14,15 option=!5"),
    (V4, "filter", "INPUT", "-m devgroup ! --src-group 0x5/0xf", "-m devgroup ! --src-group 0x5/0xf", "! src-group 0x5/0xf"),
    (V4, "filter", "INPUT", "-m ecn ! --ecn-ip-ect 1", "-m ecn ! --ecn-ip-ect 1", "ECN match !ECT=1"),
    (V4, "filter", "INPUT", "-p esp -m esp ! --espspi 5", "-p esp -m esp ! --espspi 5", "esp spi:!5"),
    (V4, "filter", "INPUT", "-p esp -m esp --espspi 5:9", "-p esp -m esp --espspi 5:9", "esp spis:5:9"),
    (V6, "filter", "INPUT", "-m frag ! --fragid 5 --fraglast", "-m frag ! --fragid 5 --fraglast", "frag id:!5 last"),
    (V4, "filter", "INPUT", "-p ipcomp -m ipcomp", "-p ipcomp -m ipcomp --ipcompspi 0", "comp spi:0"),
    (V4, "filter", "INPUT", "-p ipcomp -m ipcomp --ipcompspi 5:7 --compres", "-p ipcomp -m ipcomp --ipcompspi 5:7 --compres", "comp spis:5:7 reserved"),
    (V6, "filter", "INPUT", "-m ipv6header ! --header hop,dst,route,frag,auth,esp,none,prot --soft", "-m ipv6header ! --header hop-by-hop,ipv6-opts,ipv6-route,ipv6-frag,ah,esp,ipv6-nonxt,protocol --soft", "ipv6header flags:!0xFF soft"),
    (V6, "filter", "INPUT", "-m ipv6header --header 0,60", "-m ipv6header --header hop-by-hop,ipv6-opts", "ipv6header flags:0xC0"),
    (V6, "filter", "INPUT", "-m ipv6header --header ipv6-route", "-m ipv6header --header ipv6-route", "ipv6header flags:0x20"),
    (V6, "filter", "INPUT", "-m hbh --hbh-opts 0,5:2 ! --hbh-len 8", "-m hbh ! --hbh-len 8 --hbh-opts 0,5:2", "hbh length:!8 opts 0,5:2"),
    (V6, "filter", "INPUT", "-m dst --dst-opts 1", "-m dst --dst-opts 1", "dst opts 1"),
    (V6, "filter", "INPUT", "-p mobility-header -m mh --mh-type binding-update", "-p mobility-header -m mh --mh-type 5", "mh 5"),
    (V6, "filter", "INPUT", "-p mobility-header -m mh ! --mh-type brr:be", "-p mobility-header -m mh ! --mh-type 0:7", "mh !0:7"),
    (V6, "filter", "INPUT", "-p mobility-header -m mh --mh-type h", "-p mobility-header -m mh --mh-type 1", "mh 1"),
    (V4, "filter", "OUTPUT", "-m owner ! --uid-owner 0 ! --gid-owner 5:9 --suppl-groups ! --socket-exists", "-m owner ! --socket-exists ! --uid-owner 0 ! --gid-owner 5-9 --suppl-groups", "! owner socket exists ! owner UID match 0 ! owner GID match 5-9 incl. suppl. groups"),
    (V4, "filter", "INPUT", "-m physdev ! --physdev-in eth+ ! --physdev-is-in", "-m physdev ! --physdev-is-in ! --physdev-in eth+", "PHYSDEV match ! --physdev-is-in ! --physdev-in eth+"),
    (V4, "filter", "FORWARD", "-m physdev --physdev-out eth0 --physdev-is-out ! --physdev-is-bridged", "-m physdev --physdev-is-out --physdev-out eth0 ! --physdev-is-bridged", "PHYSDEV match --physdev-is-out --physdev-out eth0 ! --physdev-is-bridged"),
    (V4, "filter", "INPUT", "-m pkttype ! --pkt-type mcast", "-m pkttype ! --pkt-type multicast", "PKTTYPE != multicast"),
    (V4, "filter", "INPUT", "-m pkttype --pkt-type otherhost", "-m pkttype --pkt-type otherhost", "PKTTYPE = otherhost"),
    (V4, "filter", "INPUT", "-m realm ! --realm 5/7", "-m realm ! --realm 0x5/0x7", "! realm 0x5/0x7"),
    (V4, "mangle", "PREROUTING", "-m rpfilter --loose", "-m rpfilter --loose", "rpfilter loose"),
    (V6, "filter", "INPUT", "-m rt --rt-type 0 --rt-0-addrs ::1,::2 --rt-0-not-strict", "-m rt --rt-type 0 --rt-0-addrs ::1,::2 --rt-0-not-strict", "rt type:0 0-addrs ::1,::2 0-not-strict"),
    (V6, "filter", "INPUT", "-m rt --rt-type 0 --rt-0-addrs ::1", "-m rt --rt-type 0 --rt-0-addrs ::1", "rt type:0 0-addrs ::1"),
    (V4, "filter", "INPUT", "-p sctp -m sctp ! --sport 5 --dport 5:9", "-p sctp -m sctp ! --sport 5 --dport 5:9", "sctp spt:!5 dpts:5:9"),
    (V4, "filter", "INPUT", "-p sctp --chunk-types any DATA:Be,INIT", "-p sctp -m sctp --chunk-types any DATA:Be,INIT", "sctp any 0x0000:Be,0x0001"),
    (V4, "filter", "INPUT", "-p sctp ! --chunk-types only ALL", "-p sctp -m sctp ! --chunk-types only ALL", "sctp ! only ALL"),
    (V4, "filter", "INPUT", "-p sctp --chunk-types all NONE", "-p sctp -m sctp --chunk-types all NONE", "sctp all NONE"),
    (V4, "filter", "INPUT", "-p sctp --chunk-types all I_DATA:B", "-p sctp -m sctp --chunk-types all I_DATA", "sctp all 0x0040"),
    (V4, "filter", "INPUT", "-m statistic --mode random --probability 0.333", "-m statistic --mode random --probability 0.33300000010", "statistic mode random probability 0.33300000010"),
    (V4, "filter", "INPUT", "-m statistic --mode random --probability 1e-3", "-m statistic --mode random --probability 0.00100000016", "statistic mode random probability 0.00100000016"),
    (V4, "filter", "INPUT", "-m statistic --mode nth --every 5 --packet 0", "-m statistic --mode nth --every 5 --packet 0", "statistic mode nth every 5"),
    (V4, "filter", "INPUT", "-p tcp -m tcpmss ! --mss 5:", "-p tcp -m tcpmss ! --mss 5:65535", "tcpmss match !5:65535"),
    (V4, "filter", "INPUT", "-m quota ! --quota 5", "-m quota ! --quota 5", "quota: 5 bytes"),
    (V4, "filter", "INPUT", "-m cpu ! --cpu 1", "-m cpu ! --cpu 1", "cpu ! 1"),
    // A mask with holes becomes the whole mask; bits outside a mask stay where the kernel compares with them.
    (V4, "filter", "INPUT", "-m policy --dir in --pol ipsec --strict --mode tunnel --tunnel-src 10.1.2.3/255.0.255.0 --tunnel-dst 10.1.2.3/8", "-m policy --dir in --pol ipsec --strict --mode tunnel --tunnel-dst 10.1.2.3/8 --tunnel-src 10.1.2.3", "policy match dir in pol ipsec strict mode tunnel tunnel-dst 10.1.2.3/8 tunnel-src 10.1.2.3"),
    (V4, "nat", "PREROUTING", "-j NETMAP --to 1.2.3.4/255.0.255.0", "-j NETMAP --to 1.2.3.4/32", "to:1.2.3.4/32"),
    (V6, "nat", "PREROUTING", "-j NETMAP --to fe80::1/32", "-j NETMAP --to fe80::/32", "to:fe80::/32"),
    (V4, "mangle", "PREROUTING", "-j HMARK --hmark-src-prefix 255.0.255.0 --hmark-mod 1 --hmark-rnd 1 --hmark-offset 1", "-j HMARK --hmark-src-prefix 32 --hmark-rnd 0x00000001 --hmark-mod 1 --hmark-offset 1", "HMARK mod 1 + 0x1 src-prefix 32 rnd 0x1"),
];
