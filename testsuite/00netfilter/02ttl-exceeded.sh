#!/bin/bash
# A packet with TTL 1 is not forwarded: its sender is told, and FORWARD has not seen it.
. "$LIB"

check() {
    case $FAMILY in
        4) error="1 11 0" tos=TOS=192 ;;
        6) error="58 3 0" tos= ;;
    esac
    packet="${N1}2 ${N0}2 $((HEAD + 8)) 17 1000 2000"
    $IPT -A FORWARD
    through tap1 TTL=2 $packet
    expect "tap0 $packet"
    count_is filter FORWARD 1 1
    through tap1 TTL=1 $packet
    expect "tap1 $tos ${N1}1 ${N1}2 $((2 * HEAD + 16)) $error [ $packet ]"
    count_is filter FORWARD 1 1
    # The error is the machine's own packet.
    $IPT -A OUTPUT -p $ICMPNAME -j DROP
    stop tap1 TTL=1 $packet
}
both check
