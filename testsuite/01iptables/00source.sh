#!/bin/bash
# -s: a host, a net, a list.
. "$LIB"

check() {
    packet="${N0}2 100 17 1000 2000"
    for source in ${N1}2 ${N1}2/$H ${N1}0/$W ${N1}9,${N1}2 ${N1}99/$W; do
        pass tap1 ${N1}2 $packet
        $IPT -A FORWARD -s $source -j DROP
        stop tap1 ${N1}2 $packet
        $IPT -F
    done
    $IPT -A FORWARD -s ${N1}2 -j DROP
    pass tap1 ${N1}3 $packet
    pass tap0 ${N0}2 ${N1}2 100 17 2000 1000
}
both check
