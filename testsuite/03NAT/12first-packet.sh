#!/bin/bash
# Only the first packet of a connection walks the nat table; the connection keeps what it got.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    # The kernel tracks, and translates what is there, as long as any rule needs it.
    $IPT -t mangle -A OUTPUT -m conntrack --ctstate NEW
    $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source ${N0}9
    through tap1 ${N1}2 ${N0}2 100 17 1001 2000
    expect "tap0 ${N0}9 ${N0}2 100 17 1001 2000"
    through tap0 ${N0}2 ${N0}9 100 17 2000 1001
    through tap1 ${N1}2 ${N0}2 100 17 1001 2000
    count_is nat POSTROUTING 1 1
    $IPT -t nat -F
    through tap1 ${N1}2 ${N0}2 100 17 1001 2000
    expect "tap0 ${N0}9 ${N0}2 100 17 1001 2000"
    pass tap1 ${N1}2 ${N0}2 100 17 1002 2000
    # And one that began without a rule stays without.
    $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source ${N0}9
    pass tap1 ${N1}2 ${N0}2 100 17 1002 2000
    # DROP has no place in this table.
    refused $IPT -t nat -A POSTROUTING -o tap0 -j DROP
    $IPT -A FORWARD -i tap1 -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1001 2000
}
both check
