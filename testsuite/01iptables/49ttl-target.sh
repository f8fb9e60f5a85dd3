#!/bin/bash
# -j TTL and -j HL: set, more, less.
. "$LIB"

check() {
    case $FAMILY in
        4) target="-j TTL --ttl" ;;
        6) target="-j HL --hl" ;;
    esac
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    RCV=TTL
    through tap1 $packet
    expect "tap0 TTL=63 $packet"
    $IPT -t mangle -A POSTROUTING $target-set 9
    through tap1 $packet
    expect "tap0 TTL=9 $packet"
    $IPT -t mangle -R POSTROUTING 1 $target-inc 5
    through tap1 TTL=20 $packet
    expect "tap0 TTL=24 $packet"
    $IPT -t mangle -R POSTROUTING 1 $target-dec 5
    through tap1 TTL=20 $packet
    expect "tap0 TTL=14 $packet"
    # Before routing, it decides whether the packet may go on.
    $IPT -t mangle -F
    $IPT -t mangle -A PREROUTING $target-dec 5
    through tap1 TTL=7 $packet
    expect "tap0 TTL=1 $packet"
    RCV=
    $IPT -A OUTPUT -p $ICMPNAME -j DROP
    stop tap1 TTL=6 $packet
    refused $IPT -A FORWARD $target-set 9
}
both check
