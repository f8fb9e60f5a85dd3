#!/bin/bash
# -m dscp: the upper six bits, by number and by class.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 TOS=184 $packet
    $IPT -A FORWARD -m dscp --dscp-class EF -j DROP
    stop tap1 TOS=184 $packet
    stop tap1 TOS=187 $packet
    pass tap1 TOS=180 $packet
    $IPT -R FORWARD 1 -m dscp --dscp 0x0a -j DROP
    stop tap1 TOS=40 $packet
    pass tap1 TOS=44 $packet
    $IPT -R FORWARD 1 -m dscp ! --dscp-class AF11 -j DROP
    pass tap1 TOS=40 $packet
    stop tap1 $packet
}
both check
