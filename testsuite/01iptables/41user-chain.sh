#!/bin/bash
# A jump into a chain of one's own, which decides or comes back.
. "$LIB"

check() {
    udp="${N1}2 ${N0}2 100 17 1000 2000"
    tcp="${N1}2 ${N0}2 100 6 1000 2000 SYN"
    pass tap1 $udp
    $IPT -N udp-only
    $IPT -A udp-only -p udp -j DROP
    pass tap1 $udp
    $IPT -A FORWARD -j udp-only
    $IPT -A FORWARD -s ${N1}3
    stop tap1 $udp
    pass tap1 $tcp
    # Chains in chains.
    $IPT -N outer
    $IPT -A outer -s ${N1}2 -j udp-only
    $IPT -R FORWARD 1 -j outer
    stop tap1 $udp
    pass tap1 $tcp
    pass tap1 ${N1}3 ${N0}2 100 17 1000 2000
    count_is filter FORWARD 2 1
    # In use, it can't be deleted; empty and unused, it can.
    refused $IPT -X udp-only
    $IPT -F outer
    refused $IPT -X udp-only
    $IPT -F udp-only
    $IPT -X udp-only
    pass tap1 $udp
}
both check
