#!/bin/bash
# With connection tracking, fragments are put together first: all are judged as their datagram, and go on when the last has come.
. "$LIB"

check() {
    watch
    first="FRAG=0,48 MF ID=9 ${N1}2 ${N0}2 $((HEAD + 80)) 17 1000 2000"
    second="FRAG=48,32 ID=9 ${N1}2 ${N0}2 $((HEAD + 80)) 17 1000 2000"
    through tap1 $first
    expect
    through tap1 $second
    # As long as they came.
    expect "tap0 FRAG=0,48 MF ${N1}2 ${N0}2 $((HEAD + 48)) 17 1000 2000" "tap0 FRAG=48,32 ${N1}2 ${N0}2 $((HEAD + 80)) 17"
    state NEW
    # In the other order, and stopped by a rule about the port.
    $IPT -A FORWARD -p udp --dport 2000 -j DROP
    stop tap1 $second
    stop tap1 $first
    count_is filter FORWARD 1 1
}
both check
