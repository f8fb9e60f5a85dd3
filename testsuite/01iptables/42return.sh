#!/bin/bash
# -j RETURN goes back to behind the jump; in a built-in chain, to the policy.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -N chain
    $IPT -A FORWARD -j chain
    $IPT -A chain -j DROP
    stop tap1 $packet
    $IPT -I chain -s ${N1}2 -j RETURN
    pass tap1 $packet
    stop tap1 ${N1}3 ${N0}2 100 17 1000 2000
    $IPT -A FORWARD -j DROP
    stop tap1 $packet
    $IPT -I FORWARD 2 -s ${N1}2 -j RETURN
    pass tap1 $packet
    $IPT -P FORWARD DROP
    stop tap1 $packet
    count_is filter FORWARD 0 1
}
both check
