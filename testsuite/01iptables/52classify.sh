#!/bin/bash
# -j CLASSIFY leaves the packet as it is, and goes on; not before the routing decision.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -t mangle -A POSTROUTING -j CLASSIFY --set-class 1:10
    pass tap1 $packet
    count_is mangle POSTROUTING 1 1
    $IPT -t mangle -A POSTROUTING -j DROP
    stop tap1 $packet
    refused $IPT -t mangle -A PREROUTING -j CLASSIFY --set-class 1:10
}
both check
