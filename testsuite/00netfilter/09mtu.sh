#!/bin/bash
# What is longer than the way out allows: refused with an error that tells the MTU, or cut when IPv4 may.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}2 1500 17 1000 2000
    case $FAMILY in
        4)
            toobig="tap1 TOS=192 ${N1}1 ${N1}2 576 1 3 4 [ ${N1}2 ${N0}2 1600 17 1000 2000 ]"
            through tap1 ${N1}2 ${N0}2 1600 17 1000 2000
            expect "tap0 FRAG=0,1480 MF ${N1}2 ${N0}2 1500 17 1000 2000" "tap0 FRAG=1480,100 ${N1}2 ${N0}2 1600 17"
            ;;
        6)
            toobig="tap1 ${N1}1 ${N1}2 1280 58 2 0 [ ${N1}2 ${N0}2 1600 17 1000 2000 ]"
            ;;
    esac
    through tap1 DF ${N1}2 ${N0}2 1600 17 1000 2000
    expect "$toobig"
    # FORWARD comes after that check and before the cutting.
    $IPT -A FORWARD -m length --length 1501: -j DROP
    pass tap1 ${N1}2 ${N0}2 1500 17 1000 2000
    through tap1 DF ${N1}2 ${N0}2 1600 17 1000 2000
    expect "$toobig"
    [ $FAMILY = 6 ] || stop tap1 ${N1}2 ${N0}2 1600 17 1000 2000
}
both check
