#!/bin/bash
# -m limit: a burst matches, what exceeds it does not.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -A FORWARD -m limit --limit 1/hour --limit-burst 3 -j ACCEPT
    $IPT -A FORWARD -j DROP
    for n in 1 2 3; do
        pass tap1 $packet
    done
    for n in 4 5; do
        stop tap1 $packet
    done
    count_is filter FORWARD 1 3
    count_is filter FORWARD 2 2
}
both check
