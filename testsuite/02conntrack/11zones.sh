#!/bin/bash
# -j CT --zone: the same addresses and ports in two zones are two connections.
. "$LIB"

check() {
    watch
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    back="${N0}2 ${N1}2 100 17 2000 1000"
    pass tap1 $packet
    pass tap0 $back
    $IPT -t mangle -Z FORWARD
    $IPT -t raw -A PREROUTING -j CT --zone 5
    pass tap1 $packet
    state NEW
    pass tap0 $back
    state ESTABLISHED
    $IPT -t raw -F
    pass tap1 $packet
    state ESTABLISHED
    $IPT -t raw -A PREROUTING -j CT --zone 6
    $IPT -A FORWARD -m conntrack --ctstate NEW -j DROP
    stop tap1 $packet
}
both check
