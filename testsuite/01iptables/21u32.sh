#!/bin/bash
# -m u32: any four bytes, masked, shifted, compared with ranges.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    # Ports: source in the upper half of the word behind the IP header.
    $IPT -A FORWARD -m u32 --u32 "$HEAD >> 16 = 1000" -j DROP
    stop tap1 $packet
    pass tap1 ${N1}2 ${N0}2 100 17 1001 2000
    $IPT -R FORWARD 1 -m u32 --u32 "$HEAD & 0xffff = 1:5,2000:2005 && $((HEAD + 4)) >> 16 = $((100 - HEAD))" -j DROP
    stop tap1 $packet
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2006
    pass tap1 ${N1}2 ${N0}2 101 17 1000 2000
    # @ moves: here by the header's length in the first byte.
    if [ $FAMILY = 4 ]; then
        $IPT -R FORWARD 1 -m u32 --u32 "0 >> 22 & 0x3c @ 0 & 0xffff = 2000" -j DROP
        stop tap1 $packet
        pass tap1 ${N1}2 ${N0}2 100 17 1000 2006
    fi
    $IPT -R FORWARD 1 -m u32 ! --u32 "$HEAD >> 16 = 1000" -j DROP
    pass tap1 $packet
    stop tap1 ${N1}2 ${N0}2 100 17 1001 2000
    # Behind the packet's end: no match.
    $IPT -R FORWARD 1 -m u32 --u32 "500 = 0:0xffffffff" -j DROP
    pass tap1 $packet
}
both check
