#!/bin/bash
# -j REJECT in IPv4: the packet is stopped and its sender is told what is asked for.
. "$LIB"

family 4
udp="${N1}2 ${N0}2 100 17 1000 2000"
pass tap1 $udp
$IPT -A FORWARD -p udp -j REJECT
through tap1 $udp
expect "tap1 TOS=192 ${N1}1 ${N1}2 128 1 3 3 [ $udp ]"
for kind in net:0 host:1 proto:2 port:3; do
    $IPT -R FORWARD 1 -p udp -j REJECT --reject-with icmp-${kind%:*}-unreachable
    through tap1 $udp
    expect "tap1 TOS=192 ${N1}1 ${N1}2 128 1 3 ${kind#*:} [ $udp ]"
done
for kind in icmp-net-prohibited:9 icmp-host-prohibited:10 icmp-admin-prohibited:13; do
    $IPT -R FORWARD 1 -p udp -j REJECT --reject-with ${kind%:*}
    through tap1 $udp
    expect "tap1 TOS=192 ${N1}1 ${N1}2 128 1 3 ${kind#*:} [ $udp ]"
done
# A reset, for TCP only.
refused $IPT -A FORWARD -p udp -j REJECT --reject-with tcp-reset
syn="${N1}2 ${N0}2 60 6 1000 80 SYN SYN=99"
pass tap1 $syn
$IPT -A FORWARD -p tcp -j REJECT --reject-with tcp-reset
through tap1 $syn
expect "tap1 ${N0}2 ${N1}2 40 6 80 1000 RST/ACK ACK=120"
through tap1 ${N1}2 ${N0}2 40 6 1000 80 ACK SYN=99 ACK=55
expect "tap1 ${N0}2 ${N1}2 40 6 80 1000 RST SYN=55"
# No answer to a reset, to an error, or to a later fragment.
stop tap1 ${N1}2 ${N0}2 40 6 1000 80 RST SYN=99
$IPT -A FORWARD -j REJECT
stop tap1 ${N1}2 ${N0}2 56 1 3 1 [ ${N0}2 ${N1}2 28 17 1 2 ]
stop tap1 FRAG=48,32 ${N1}2 ${N0}2 100 17
ping="${N1}2 ${N0}2 84 1 8 0 1 2"
through tap1 $ping
expect "tap1 TOS=192 ${N1}1 ${N1}2 112 1 3 3 [ $ping ]"
