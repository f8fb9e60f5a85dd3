#!/bin/bash
# -m tos, by number and mask and by name.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 TOS=16 $packet
    $IPT -A FORWARD -m tos --tos 0x10 -j DROP
    stop tap1 TOS=16 $packet
    pass tap1 $packet
    # A number without a mask is compared whole.
    pass tap1 TOS=17 $packet
    $IPT -R FORWARD 1 -m tos --tos 0x10/0x10 -j DROP
    stop tap1 TOS=17 $packet
    $IPT -R FORWARD 1 -m tos ! --tos 0x10/0x10 -j DROP
    pass tap1 TOS=17 $packet
    stop tap1 TOS=8 $packet
    # A name leaves the two lowest bits and the precedence out.
    $IPT -R FORWARD 1 -m tos --tos Minimize-Delay -j DROP
    stop tap1 TOS=16 $packet
    pass tap1 TOS=8 $packet
}
both check
