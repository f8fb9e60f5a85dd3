#!/bin/bash
# -j LOG and -j NFLOG say something and go on; the next rule decides.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -A FORWARD -j LOG --log-prefix "suite: " --log-level debug --log-ip-options
    $IPT -A FORWARD -j NFLOG --nflog-group 7 --nflog-prefix suite
    pass tap1 $packet
    count_is filter FORWARD 1 1
    count_is filter FORWARD 2 1
    $IPT -A FORWARD -j DROP
    stop tap1 $packet
    count_is filter FORWARD 2 2
}
both check
