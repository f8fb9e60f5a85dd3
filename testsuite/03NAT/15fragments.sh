#!/bin/bash
# Fragments of a translated datagram: put together, translated, and sent on in pieces as long as they came.
. "$LIB"

check() {
    case $FAMILY in
        4) to=${N0}2:3000 ;;
        6) to=[${N0}2]:3000 ;;
    esac
    pass tap1 ${N1}2 ${N0}5 100 17 1000 2000
    $IPT -t nat -A PREROUTING -i tap1 -p udp -d ${N0}5 --dport 2000 -j DNAT --to-destination $to
    through tap1 FRAG=0,48 MF ID=9 ${N1}2 ${N0}5 $((HEAD + 80)) 17 1001 2000
    expect
    through tap1 FRAG=48,32 ID=9 ${N1}2 ${N0}5 $((HEAD + 80)) 17 1001 2000
    expect "tap0 FRAG=0,48 MF ${N1}2 ${N0}2 $((HEAD + 48)) 17 1001 3000" "tap0 FRAG=48,32 ${N1}2 ${N0}2 $((HEAD + 80)) 17"
    $IPT -A FORWARD -p udp --dport 3000 -j DROP
    stop tap1 FRAG=48,32 ID=10 ${N1}2 ${N0}5 $((HEAD + 80)) 17 1002 2000
    stop tap1 FRAG=0,48 MF ID=10 ${N1}2 ${N0}5 $((HEAD + 80)) 17 1002 2000
}
both check
