#!/bin/bash
# SNAT: the source is changed on the way out, and back in the answer.
. "$LIB"

check() {
    there="${N0}2 100 17 1000 2000"
    pass tap1 ${N1}2 $there
    $IPT -t nat -A POSTROUTING -o tap0 -s ${N1}2 -j SNAT --to-source ${N0}9
    through tap1 ${N1}2 ${N0}2 100 17 1001 2000
    expect "tap0 ${N0}9 ${N0}2 100 17 1001 2000"
    through tap0 ${N0}2 ${N0}9 100 17 2000 1001
    expect "tap1 ${N0}2 ${N1}2 100 17 2000 1001"
    pass tap1 ${N1}3 $there
    # FORWARD sees the address from before, in both directions.
    $IPT -A FORWARD -s ${N1}2 -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1001 2000
    $IPT -R FORWARD 1 -d ${N1}2 -j DROP
    stop tap0 ${N0}2 ${N0}9 100 17 2000 1001
    refused $IPT -t nat -A PREROUTING -j SNAT --to-source ${N0}9
    refused $IPT -A FORWARD -j SNAT --to-source ${N0}9
}
both check
