#!/bin/bash
# Later fragments: -f in IPv4, -m frag and the fragment header in IPv6.
. "$LIB"

check() {
    first="FRAG=0,48 MF ${N1}2 ${N0}2 $((HEAD + 80)) 17 1000 2000"
    shown="FRAG=0,48 MF ${N1}2 ${N0}2 $((HEAD + 48)) 17 1000 2000"
    second="FRAG=48,32 ${N1}2 ${N0}2 $((HEAD + 80)) 17"
    whole="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $second
    if [ $FAMILY = 4 ]; then
        $IPT -A FORWARD -f -j DROP
    else
        $IPT -A FORWARD -m frag --fraglast -j DROP
    fi
    stop tap1 $second
    through tap1 $first
    expect "tap0 $shown"
    pass tap1 $whole
    if [ $FAMILY = 4 ]; then
        $IPT -R FORWARD 1 ! -f -j DROP
        stop tap1 $whole
    else
        $IPT -R FORWARD 1 -m frag --fragfirst -j DROP
        pass tap1 $whole
    fi
    stop tap1 $first
    pass tap1 $second
}
both check
