#!/bin/bash
# An error about a packet of a connection is RELATED, from whoever it comes; about another it is INVALID.
. "$LIB"

check() {
    watch
    error() { # error PACKET: about it, from a router behind tap0
        gen_ip $@ | gen_err ${N0}9 $UNREACH $PORT >$TAPS/tap0
        out tap0
    }
    there="${N1}2 ${N0}2 $((HEAD + 8)) 17 1000"
    pass tap1 $there 2000
    state NEW
    error $there 2000
    expect "tap1 ${N0}9 ${N1}2 $((2 * HEAD + 16)) $ICMP $UNREACH $PORT [ $there 2000 ]"
    state RELATED
    error $there 2001
    expect "tap1 ${N0}9 ${N1}2 $((2 * HEAD + 16)) $ICMP $UNREACH $PORT [ $there 2001 ]"
    state INVALID
    $IPT -A FORWARD -i tap0 -m conntrack ! --ctstate RELATED -j DROP
    error $there 2000
    expect "tap1 ${N0}9 ${N1}2 $((2 * HEAD + 16)) $ICMP $UNREACH $PORT [ $there 2000 ]"
    error $there 2001
    expect
    # The error did not make the connection an answered one.
    $IPT -t mangle -Z FORWARD
    pass tap1 $there 2000
    state NEW
}
both check
