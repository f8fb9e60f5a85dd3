#!/bin/bash
# -m quota: matches until so many bytes have come.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -A FORWARD -m quota --quota 250 -j ACCEPT
    $IPT -A FORWARD -j DROP
    pass tap1 $packet
    pass tap1 $packet
    # 50 bytes are left, which is too few; and then the quota is used up.
    stop tap1 $packet
    stop tap1 ${N1}2 ${N0}2 50 17 1000 2000
}
both check
