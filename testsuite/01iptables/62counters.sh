#!/bin/bash
# Packets and bytes are counted by rule and policy; -Z sets them to zero, -c to what is given.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    $IPT -A FORWARD -p udp
    $IPT -A FORWARD -p tcp
    pass tap1 $packet
    pass tap1 $packet
    count_is filter FORWARD 1 2 200
    count_is filter FORWARD 2 0 0
    count_is filter FORWARD 0 2 200
    pass tap1 ${N1}2 ${N0}2 60 6 1000 80 SYN
    count_is filter FORWARD 1 2 200
    count_is filter FORWARD 2 1 60
    count_is filter FORWARD 0 3 260
    # One rule, then all.
    $IPT -Z FORWARD 1
    count_is filter FORWARD 1 0 0
    count_is filter FORWARD 2 1 60
    $IPT -Z FORWARD
    count_is filter FORWARD 2 0 0
    count_is filter FORWARD 0 0 0
    # Listed and zeroed in one.
    pass tap1 $packet
    $IPT -nvxL FORWARD -Z | grep -q '^ *1 *100 '
    count_is filter FORWARD 1 0 0
    $IPT -A FORWARD -j DROP -c 7 700
    stop tap1 $packet
    count_is filter FORWARD 3 8 800
    # Another change keeps what was counted.
    $IPT -I FORWARD -s ${N1}99
    count_is filter FORWARD 4 8 800
    count_is filter FORWARD 2 1 100
}
both check
