#!/bin/bash
# A packet to where there is no route goes back as an error; PREROUTING has seen it, FORWARD has not.
. "$LIB"

check() {
    case $FAMILY in
        4) nowhere=172.16.9.9 error="1 3 0" tos=TOS=192 ;;
        6) nowhere=fd00:99::9 error="58 1 0" tos= ;;
    esac
    $IPT -t mangle -A PREROUTING
    $IPT -t mangle -A FORWARD
    packet="${N1}2 $nowhere $((HEAD + 8)) 17 1000 2000"
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    through tap1 $packet
    expect "tap1 $tos ${N1}1 ${N1}2 $((2 * HEAD + 16)) $error [ $packet ]"
    count_is mangle PREROUTING 1 2
    count_is mangle FORWARD 1 1
    $IPT -t raw -A PREROUTING -d $nowhere -j DROP
    stop tap1 $packet
}
both check
