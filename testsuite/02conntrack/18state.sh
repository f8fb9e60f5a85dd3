#!/bin/bash
# -m state, the older name.
. "$LIB"

check() {
    there="${N1}2 ${N0}2 100 17 1000 2000"
    back="${N0}2 ${N1}2 100 17 2000 1000"
    $IPT -A FORWARD -m state --state ESTABLISHED,RELATED -j ACCEPT
    pass tap0 $back
    $IPT -A FORWARD -i tap0 -j DROP
    stop tap0 ${N0}2 ${N1}2 100 17 2000 1001
    pass tap1 ${N1}2 ${N0}2 100 17 1001 2000
    pass tap0 ${N0}2 ${N1}2 100 17 2000 1001
    $IPT -I FORWARD -m state ! --state NEW -j DROP
    stop tap0 ${N0}2 ${N1}2 100 17 2000 1001
    stop tap1 ${N1}2 ${N0}2 100 17 1001 2000
    pass tap1 ${N1}2 ${N0}2 100 17 1002 2000
}
both check
