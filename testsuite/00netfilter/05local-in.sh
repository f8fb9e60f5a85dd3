#!/bin/bash
# A packet to any of the machine's addresses goes through INPUT and not through FORWARD.
. "$LIB"

check() {
    for own in ${N1}1 ${N0}1; do
        $IPT -F
        through tap1 ${N1}2 $own 84 $ICMP $PING 3 4
        expect "tap1 $own ${N1}2 84 $ICMP $PONG 3 4"
        $IPT -A FORWARD -j DROP
        through tap1 ${N1}2 $own 84 $ICMP $PING 3 4
        expect "tap1 $own ${N1}2 84 $ICMP $PONG 3 4"
        $IPT -A INPUT -i tap1 -j DROP
        stop tap1 ${N1}2 $own 84 $ICMP $PING 3 4
        through tap0 ${N0}2 $own 84 $ICMP $PING 3 4
        expect "tap0 $own ${N0}2 84 $ICMP $PONG 3 4"
    done
}
both check
