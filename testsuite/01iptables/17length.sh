#!/bin/bash
# -m length: the packet with its header in IPv4, the payload's length and the header in IPv6.
. "$LIB"

check() {
    $IPT -A FORWARD -m length --length 100 -j DROP
    pass tap1 ${N1}2 ${N0}2 99 17 1000 2000
    stop tap1 ${N1}2 ${N0}2 100 17 1000 2000
    pass tap1 ${N1}2 ${N0}2 101 17 1000 2000
    $IPT -R FORWARD 1 -m length --length 90:100 -j DROP
    pass tap1 ${N1}2 ${N0}2 89 17 1000 2000
    stop tap1 ${N1}2 ${N0}2 90 17 1000 2000
    stop tap1 ${N1}2 ${N0}2 100 17 1000 2000
    $IPT -R FORWARD 1 -m length ! --length 90: -j DROP
    stop tap1 ${N1}2 ${N0}2 89 17 1000 2000
    pass tap1 ${N1}2 ${N0}2 1400 17 1000 2000
}
both check
