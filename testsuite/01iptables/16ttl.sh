#!/bin/bash
# -m ttl in IPv4, -m hl in IPv6; FORWARD sees what is left after the hop.
. "$LIB"

check() {
    case $FAMILY in
        4) match="-m ttl --ttl" ;;
        6) match="-m hl --hl" ;;
    esac
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    through tap1 TTL=30 $packet
    expect "tap0 $packet"
    $IPT -t mangle -A PREROUTING $match-eq 30 -j DROP
    stop tap1 TTL=30 $packet
    through tap1 TTL=31 $packet
    expect "tap0 $packet"
    $IPT -t mangle -R PREROUTING 1 $match-lt 30 -j DROP
    stop tap1 TTL=29 $packet
    through tap1 TTL=30 $packet
    expect "tap0 $packet"
    $IPT -t mangle -R PREROUTING 1 $match-gt 30 -j DROP
    stop tap1 TTL=31 $packet
    through tap1 TTL=30 $packet
    expect "tap0 $packet"
    # The hop is taken before FORWARD.
    $IPT -t mangle -F
    $IPT -t mangle -A FORWARD $match-eq 30
    $IPT -t mangle -A FORWARD $match-eq 29
    $IPT -t mangle -A POSTROUTING $match-eq 29
    through tap1 TTL=30 $packet
    expect "tap0 $packet"
    count_is mangle FORWARD 1 0
    count_is mangle FORWARD 2 1
    count_is mangle POSTROUTING 1 1
}
both check
