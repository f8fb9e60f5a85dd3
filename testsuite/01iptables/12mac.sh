#!/bin/bash
# -m mac: on an interface without Ethernet addresses it never matches, negated neither.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    $IPT -A FORWARD -m mac --mac-source 02:00:00:00:00:05 -j DROP
    pass tap1 $packet
    through tap1 MAC=02:00:00:00:00:05 $packet
    expect "tap0 $packet"
    $IPT -A FORWARD -m mac ! --mac-source 02:00:00:00:00:05 -j DROP
    pass tap1 $packet
    count_is filter FORWARD 1 0
    count_is filter FORWARD 2 0
    # A packet that leaves has no source to look at: refused there.
    refused $IPT -A OUTPUT -m mac --mac-source 02:00:00:00:00:05 -j DROP
}
both check
