#!/bin/bash
# A packet crosses the machine in both directions, and its TTL is one less then.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    pass tap0 ${N0}2 ${N1}2 100 17 2000 1000

    RCV=TTL
    through tap1 TTL=9 ${N1}2 ${N0}2 100 17 1000 2000
    expect "tap0 TTL=8 ${N1}2 ${N0}2 100 17 1000 2000"
    RCV=

    $IPT -A FORWARD -s ${N1}2 -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1000 2000
    pass tap0 ${N0}2 ${N1}2 100 17 2000 1000
}
both check
