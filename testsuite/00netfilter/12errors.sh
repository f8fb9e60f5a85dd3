#!/bin/bash
# ICMP errors of others are forwarded as any packet.
. "$LIB"

check() {
    case $FAMILY in
        4) error="11 0" ;;
        6) error="3 0" ;;
    esac
    packet="${N0}2 ${N1}2 $((HEAD + 8)) 17 2000 1000"
    gen_ip $packet | gen_err ${N1}9 $error >$TAPS/tap1
    out tap1
    expect "tap0 ${N1}9 ${N0}2 $((2 * HEAD + 16)) $ICMP $error [ $packet ]"
    $IPT -A FORWARD -p $ICMPNAME -j DROP
    gen_ip $packet | gen_err ${N1}9 $error >$TAPS/tap1
    out tap1
    expect
}
both check
