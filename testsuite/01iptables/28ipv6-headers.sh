#!/bin/bash
# -m ipv6header, -m rt, -m ah and -m frag exist for IPv6; -m ah for IPv4 too. What they look at is absent here: no match.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -A FORWARD -p ah -m ah --ahspi 1:100 -j DROP 2>/dev/null || $IPT -A FORWARD -m ah --ahspi 1:100 -j DROP
    if [ $FAMILY = 6 ]; then
        $IPT -A FORWARD -m rt --rt-type 2 -j DROP
        $IPT -A FORWARD -m ipv6header --soft --header frag -j DROP
    fi
    pass tap1 $packet
    if [ $FAMILY = 6 ]; then
        fragment="FRAG=48,32 ${N1}2 ${N0}2 120 17"
        stop tap1 $fragment
        $IPT -R FORWARD 3 -m ipv6header --header frag,hop-by-hop -j DROP
        pass tap1 $packet
        $IPT -R FORWARD 3 -m frag --fragid 7 -j DROP
        pass tap1 $fragment
        stop tap1 ID=7 $fragment
    fi
}
both check
