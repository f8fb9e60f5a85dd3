#!/bin/bash
# The machine answers what nobody listens for: UDP by an error, TCP by a reset; rules can stop question or answer.
. "$LIB"

check() {
    case $FAMILY in
        4) tos=TOS=192 ;;
        6) tos= ;;
    esac
    packet="${N1}2 ${N1}1 $((HEAD + 8)) 17 1000 2000"
    through tap1 $packet
    expect "tap1 $tos ${N1}1 ${N1}2 $((2 * HEAD + 16)) $ICMP $UNREACH $PORT [ $packet ]"
    syn="${N1}2 ${N1}1 $((HEAD + 20)) 6 1000 2000 SYN SYN=7"
    through tap1 $syn
    expect "tap1 ${N1}1 ${N1}2 $((HEAD + 20)) 6 2000 1000 RST/ACK ACK=8"
    $IPT -A INPUT -p udp --dport 2000 -j DROP
    stop tap1 $packet
    $IPT -A OUTPUT -p tcp --tcp-flags RST RST -j DROP
    stop tap1 $syn
}
both check
