#!/bin/bash
# -g: what the chain does not decide goes back to where the last jump came from, not to behind the goto.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -N inner
    $IPT -N middle
    $IPT -A FORWARD -j middle
    $IPT -A middle -g inner
    $IPT -A middle -j DROP
    pass tap1 $packet
    count_is filter middle 2 0
    $IPT -R middle 1 -j inner
    stop tap1 $packet
    # From a built-in chain: to the policy.
    $IPT -R FORWARD 1 -g inner
    $IPT -A FORWARD -j DROP
    pass tap1 $packet
    $IPT -P FORWARD DROP
    stop tap1 $packet
    count_is filter FORWARD 2 0
}
both check
