#!/bin/bash
# -m recent: sources that were seen, and how often.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000"
    $IPT -A FORWARD -m recent --name bad$FAMILY --rcheck -j DROP
    $IPT -A FORWARD -p udp --dport 666 -m recent --name bad$FAMILY --set -j DROP
    pass tap1 $packet 80
    stop tap1 $packet 666
    stop tap1 $packet 80
    pass tap1 ${N1}3 ${N0}2 100 17 1000 80
    $IPT -I FORWARD -p udp --dport 777 -m recent --name bad$FAMILY --remove -j ACCEPT
    pass tap1 $packet 777
    pass tap1 $packet 80
    # The third within a minute is too many.
    $IPT -F
    $IPT -A FORWARD -m recent --name often$FAMILY --update --seconds 60 --hitcount 2 -j DROP
    $IPT -A FORWARD -m recent --name often$FAMILY --set
    pass tap1 $packet 80
    pass tap1 $packet 80
    stop tap1 $packet 80
    stop tap1 $packet 80
}
both check
