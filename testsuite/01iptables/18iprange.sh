#!/bin/bash
# -m iprange: from one address to another, both included.
. "$LIB"

check() {
    $IPT -A FORWARD -m iprange --src-range ${N1}3-${N1}5 -j DROP
    for host in 2 6; do
        pass tap1 ${N1}$host ${N0}2 100 17 1000 2000
    done
    for host in 3 4 5; do
        stop tap1 ${N1}$host ${N0}2 100 17 1000 2000
    done
    $IPT -R FORWARD 1 -m iprange ! --dst-range ${N0}3-${N0}5 -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1000 2000
    pass tap1 ${N1}2 ${N0}3 100 17 1000 2000
    $IPT -R FORWARD 1 -m iprange --src-range ${N1}2-${N1}2 --dst-range ${N0}5-${N0}6 -j DROP
    pass tap1 ${N1}2 ${N0}3 100 17 1000 2000
    stop tap1 ${N1}2 ${N0}6 100 17 1000 2000
}
both check
