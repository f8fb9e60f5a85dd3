#!/bin/bash
# -j REJECT where a packet comes to the machine or leaves it; not before the routing decision.
. "$LIB"

check() {
    ping="${N1}2 ${N1}1 100 $ICMP $PING 1 2"
    case $FAMILY in
        4) tos=TOS=192 ;;
        6) tos= ;;
    esac
    through tap1 $ping
    expect "tap1 ${N1}1 ${N1}2 100 $ICMP $PONG 1 2"
    $IPT -A INPUT -p $ICMPNAME -j REJECT
    through tap1 $ping
    expect "tap1 $tos ${N1}1 ${N1}2 $((HEAD + 108)) $ICMP $UNREACH $PORT [ $ping ]"
    refused $IPT -t mangle -A PREROUTING -j REJECT
    refused $IPT -t raw -A PREROUTING -j REJECT
    refused $IPT -t mangle -A FORWARD -j REJECT
}
both check
