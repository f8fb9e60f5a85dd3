#!/bin/bash
# -j REJECT in IPv6.
. "$LIB"

family 6
udp="${N1}2 ${N0}2 100 17 1000 2000"
pass tap1 $udp
$IPT -A FORWARD -p udp -j REJECT
through tap1 $udp
expect "tap1 ${N1}1 ${N1}2 148 58 1 4 [ $udp ]"
for kind in icmp6-no-route:0 icmp6-adm-prohibited:1 icmp6-addr-unreachable:3 icmp6-port-unreachable:4 icmp6-policy-fail:5 \
    icmp6-reject-route:6; do
    $IPT -R FORWARD 1 -p udp -j REJECT --reject-with ${kind%:*}
    through tap1 $udp
    expect "tap1 ${N1}1 ${N1}2 148 58 1 ${kind#*:} [ $udp ]"
done
refused $IPT -A FORWARD -p udp -j REJECT --reject-with tcp-reset
syn="${N1}2 ${N0}2 80 6 1000 80 SYN SYN=99"
pass tap1 $syn
$IPT -A FORWARD -p tcp -j REJECT --reject-with tcp-reset
through tap1 $syn
expect "tap1 ${N0}2 ${N1}2 60 6 80 1000 RST/ACK ACK=120"
through tap1 ${N1}2 ${N0}2 60 6 1000 80 ACK SYN=99 ACK=55
expect "tap1 ${N0}2 ${N1}2 60 6 80 1000 RST SYN=55"
stop tap1 ${N1}2 ${N0}2 60 6 1000 80 RST SYN=99
$IPT -A FORWARD -j REJECT
stop tap1 ${N1}2 ${N0}2 96 58 1 0 [ ${N0}2 ${N1}2 48 17 1 2 ]
