#!/bin/bash
# Without connection tracking, fragments pass one by one; only the first has ports, which the others then match no rule about.
. "$LIB"

check() {
    first="FRAG=0,48 MF ${N1}2 ${N0}2 $((HEAD + 80)) 17 1000 2000"
    second="FRAG=48,32 ${N1}2 ${N0}2 $((HEAD + 80)) 17"
    through tap1 $first
    expect "tap0 FRAG=0,48 MF ${N1}2 ${N0}2 $((HEAD + 48)) 17 1000 2000"
    pass tap1 $second
    $IPT -A FORWARD -p udp --dport 2000 -j DROP
    stop tap1 $first
    pass tap1 $second
    # A rule about the addresses stops both.
    $IPT -R FORWARD 1 -s ${N1}2 -j DROP
    stop tap1 $first
    stop tap1 $second
}
both check
