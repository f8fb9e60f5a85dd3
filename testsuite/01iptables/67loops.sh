#!/bin/bash
# Chains that call themselves are refused, and what was there stays.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -N one
    $IPT -N two
    $IPT -A FORWARD -j one
    $IPT -A one -j two
    $IPT -A two -p udp -j DROP
    refused $IPT -A two -j one
    refused $IPT -A one -j one
    stop tap1 $packet
    [ $($IPT -S two | wc -l) = 2 ]
    # Not reachable from a hook, a loop does no harm until it is called.
    $IPT -D FORWARD 1
    pass tap1 $packet
}
both check
