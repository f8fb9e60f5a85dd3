#!/bin/bash
# -j CT --notrack: no connection for such packets.
. "$LIB"

check() {
    watch
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    state NEW
    $IPT -t raw -A PREROUTING -p udp --dport 2000 -j CT --notrack
    pass tap1 $packet
    state UNTRACKED
    pass tap0 ${N0}2 ${N1}2 100 17 2000 1000
    state ESTABLISHED
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2001
    state NEW
    $IPT -A FORWARD -m conntrack --ctstate UNTRACKED -j DROP
    stop tap1 $packet
}
both check
