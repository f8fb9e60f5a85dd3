#!/bin/bash
# -d: a host, a net, a list, a range that is no whole net.
. "$LIB"

check() {
    for destination in ${N0}2 ${N0}2/$H ${N0}0/$W ${N0}9,${N0}2; do
        pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
        $IPT -A FORWARD -d $destination -j DROP
        stop tap1 ${N1}2 ${N0}2 100 17 1000 2000
        $IPT -F
    done
    $IPT -A FORWARD -d ${N0}8/$((H - 2)) -j DROP
    pass tap1 ${N1}2 ${N0}7 100 17 1000 2000
    stop tap1 ${N1}2 ${N0}8 100 17 1000 2000
}
both check
