#!/bin/bash
# -j TOS and -j DSCP change the field; only in mangle.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -t mangle -A FORWARD -j TOS --set-tos 0x10
    through tap1 $packet
    expect "tap0 TOS=16 $packet"
    through tap1 TOS=255 $packet
    expect "tap0 TOS=16 $packet"
    $IPT -t mangle -R FORWARD 1 -j TOS --set-tos 0x10/0x3f
    through tap1 TOS=255 $packet
    expect "tap0 TOS=208 $packet"
    $IPT -t mangle -R FORWARD 1 -j TOS --or-tos 0x08
    through tap1 TOS=16 $packet
    expect "tap0 TOS=24 $packet"
    $IPT -t mangle -R FORWARD 1 -j DSCP --set-dscp-class EF
    through tap1 TOS=3 $packet
    expect "tap0 TOS=187 $packet"
    $IPT -t mangle -R FORWARD 1 -j DSCP --set-dscp 0
    through tap1 TOS=187 $packet
    expect "tap0 TOS=3 $packet"
    # A rule behind it sees the new one.
    $IPT -A FORWARD -m dscp --dscp 0 -j DROP
    stop tap1 TOS=187 $packet
    refused $IPT -A FORWARD -j TOS --set-tos 0x10
}
both check
