#!/bin/bash
# -j NFQUEUE without anybody at the queue: dropped, or let through with --queue-bypass.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -A FORWARD -j NFQUEUE --queue-num 5
    stop tap1 $packet
    $IPT -R FORWARD 1 -j NFQUEUE --queue-num 5 --queue-bypass
    pass tap1 $packet
    count_is filter FORWARD 1 1
    # That is an ACCEPT: the table's next rules are not asked, other tables are.
    $IPT -A FORWARD -j DROP
    pass tap1 $packet
    count_is filter FORWARD 2 0
    $IPT -t mangle -A POSTROUTING -j DROP
    stop tap1 $packet
}
both check
