#!/bin/bash
# -N -X -E -F: chains made, renamed, emptied, deleted.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -N first
    refused $IPT -N first
    refused $IPT -N FORWARD
    refused $IPT -N DROP
    $IPT -A first -j DROP
    $IPT -A FORWARD -j first
    $IPT -E first second
    $IPT -S FORWARD | grep -q -- '-j second'
    stop tap1 $packet
    refused $IPT -E nowhere third
    refused $IPT -X second
    refused $IPT -X FORWARD
    refused $IPT -A FORWARD -j first
    $IPT -F second
    pass tap1 $packet
    $IPT -F
    $IPT -X
    [ $($IPT -S | wc -l) = 3 ]
    refused $IPT -L second
}
both check
