#!/bin/bash
# Destination and source of one connection changed; the match on conntrack tells.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}5 100 17 1000 2000
    $IPT -t nat -A PREROUTING -i tap1 -d ${N0}5 -j DNAT --to-destination ${N0}2
    $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source ${N0}9
    $IPT -A FORWARD -m conntrack --ctstate DNAT
    $IPT -A FORWARD -m conntrack --ctstate SNAT
    through tap1 ${N1}2 ${N0}5 100 17 1001 2000
    expect "tap0 ${N0}9 ${N0}2 100 17 1001 2000"
    # SNAT comes after FORWARD: the first packet does not have it there yet.
    count_is filter FORWARD 1 1
    count_is filter FORWARD 2 0
    through tap0 ${N0}2 ${N0}9 100 17 2000 1001
    expect "tap1 ${N0}5 ${N1}2 100 17 2000 1001"
    count_is filter FORWARD 1 2
    count_is filter FORWARD 2 1
    $IPT -A FORWARD -m conntrack --ctorigdst ${N0}5 -j DROP
    stop tap1 ${N1}2 ${N0}5 100 17 1001 2000
    stop tap0 ${N0}2 ${N0}9 100 17 2000 1001
}
both check
