#!/bin/bash
# -P: what happens to a packet that no rule decides about.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -P FORWARD DROP
    stop tap1 $packet
    stop tap1 ${N1}3 ${N0}2 100 17 1000 2000
    count_is filter FORWARD 0 2 200
    $IPT -A FORWARD -s ${N1}2 -j ACCEPT
    pass tap1 $packet
    stop tap1 ${N1}3 ${N0}2 100 17 1000 2000
    $IPT -P FORWARD ACCEPT
    pass tap1 ${N1}3 ${N0}2 100 17 1000 2000
    refused $IPT -P FORWARD REJECT
    $IPT -N own
    refused $IPT -P own DROP
}
both check
