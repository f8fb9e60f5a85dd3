#!/bin/bash
# An echo request is NEW, its reply ESTABLISHED; a reply nobody asked for is INVALID.
. "$LIB"

check() {
    watch
    pass tap1 ${N1}2 ${N0}2 100 $ICMP $PING 55 1
    state NEW
    pass tap0 ${N0}2 ${N1}2 100 $ICMP $PONG 55 1
    state ESTABLISHED
    pass tap1 ${N1}2 ${N0}2 100 $ICMP $PING 55 2
    state ESTABLISHED
    pass tap0 ${N0}2 ${N1}2 100 $ICMP $PONG 56 1
    state INVALID
    $IPT -A FORWARD -m conntrack --ctstate INVALID -j DROP
    stop tap0 ${N0}2 ${N1}2 100 $ICMP $PONG 56 1
    pass tap0 ${N0}2 ${N1}2 100 $ICMP $PONG 55 1
}
both check
