#!/bin/bash
# -F empties a chain or a table; policies and other tables stay.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -A FORWARD -p udp -j DROP
    $IPT -A INPUT -j DROP
    stop tap1 $packet
    $IPT -F INPUT
    stop tap1 $packet
    $IPT -F
    pass tap1 $packet
    $IPT -P FORWARD DROP
    $IPT -F
    stop tap1 $packet
    $IPT -P FORWARD ACCEPT
    $IPT -t mangle -A FORWARD -j DROP
    $IPT -F
    stop tap1 $packet
    $IPT -t mangle -F
    pass tap1 $packet
}
both check
