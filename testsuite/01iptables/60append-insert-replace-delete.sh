#!/bin/bash
# -A -I -R -D: rules come where they are told to.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    order() { # order MARK…: the rules' marks, from the first
        [ "$($IPT -t mangle -S FORWARD | sed -n 's/.*--set-xmark 0x\([0-9a-f]*\).*/\1/p' | xargs)" = "$*" ] ||
            fail "not $*: $($IPT -t mangle -S FORWARD)"
    }
    m="FORWARD -j MARK --set-mark"
    $IPT -t mangle -A $m 1
    $IPT -t mangle -A $m 2
    $IPT -t mangle -I $m 3
    $IPT -t mangle -I FORWARD 2 -j MARK --set-mark 4
    $IPT -t mangle -I FORWARD 5 -j MARK --set-mark 5
    order 3 4 1 2 5
    $IPT -t mangle -R FORWARD 3 -j MARK --set-mark 6
    $IPT -t mangle -D FORWARD 1
    order 4 6 2 5
    $IPT -t mangle -D $m 2
    order 4 6 5
    refused $IPT -t mangle -D $m 2
    refused $IPT -t mangle -D FORWARD 4
    refused $IPT -t mangle -I FORWARD 5 -j ACCEPT
    refused $IPT -t mangle -R FORWARD 4 -j ACCEPT
    order 4 6 5
    # The last one counts, and it is the first rule of filter that decides.
    $IPT -A FORWARD -m mark --mark 6 -j DROP
    pass tap1 $packet
    $IPT -t mangle -D FORWARD 3
    stop tap1 $packet
    $IPT -I FORWARD -j ACCEPT
    pass tap1 $packet
}
both check
