#!/bin/bash
# An error about a translated packet is translated, outside and in what it quotes.
. "$LIB"

check() {
    there="${N0}2 $((HEAD + 8)) 17"
    error() { # error FROM PACKET: about what came out of tap0
        from=$1
        shift
        gen_ip $@ | gen_err $from $UNREACH $PORT >$TAPS/tap0
        out tap0
    }
    pass tap1 ${N1}2 $there 1000 2000
    error ${N0}2 ${N1}2 $there 1000 2000
    expect "tap1 ${N0}2 ${N1}2 $((2 * HEAD + 16)) $ICMP $UNREACH $PORT [ ${N1}2 $there 1000 2000 ]"
    $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source ${N0}9
    through tap1 ${N1}2 $there 1001 2000
    expect "tap0 ${N0}9 $there 1001 2000"
    error ${N0}2 ${N0}9 $there 1001 2000
    expect "tap1 ${N0}2 ${N1}2 $((2 * HEAD + 16)) $ICMP $UNREACH $PORT [ ${N1}2 $there 1001 2000 ]"
    # From a router on the way.
    error ${N0}7 ${N0}9 $there 1001 2000
    expect "tap1 ${N0}7 ${N1}2 $((2 * HEAD + 16)) $ICMP $UNREACH $PORT [ ${N1}2 $there 1001 2000 ]"
    # DNAT: the error comes from the address that was asked.
    $IPT -t nat -F
    $IPT -t nat -A PREROUTING -i tap1 -d ${N0}5 -j DNAT --to-destination ${N0}2
    through tap1 ${N1}2 ${N0}5 $((HEAD + 8)) 17 1002 2000
    expect "tap0 ${N1}2 $there 1002 2000"
    error ${N0}2 ${N1}2 $there 1002 2000
    expect "tap1 ${N0}5 ${N1}2 $((2 * HEAD + 16)) $ICMP $UNREACH $PORT [ ${N1}2 ${N0}5 $((HEAD + 8)) 17 1002 2000 ]"
    $IPT -A FORWARD -m conntrack --ctstate RELATED -j DROP
    error ${N0}2 ${N1}2 $there 1002 2000
    expect
}
both check
