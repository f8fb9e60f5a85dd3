#!/bin/bash
# DNAT: the destination is changed on the way in, and back in the answer.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}5 100 17 1000 2000
    $IPT -t nat -A PREROUTING -i tap1 -d ${N0}5 -j DNAT --to-destination ${N0}2
    through tap1 ${N1}2 ${N0}5 100 17 1001 2000
    expect "tap0 ${N1}2 ${N0}2 100 17 1001 2000"
    through tap0 ${N0}2 ${N1}2 100 17 2000 1001
    expect "tap1 ${N0}5 ${N1}2 100 17 2000 1001"
    # The host itself can still be reached.
    pass tap1 ${N1}2 ${N0}2 100 17 1002 2000
    # FORWARD sees the new destination.
    $IPT -A FORWARD -d ${N0}5 -j DROP
    through tap1 ${N1}2 ${N0}5 100 17 1003 2000
    expect "tap0 ${N1}2 ${N0}2 100 17 1003 2000"
    $IPT -R FORWARD 1 -d ${N0}2 -j DROP
    stop tap1 ${N1}2 ${N0}5 100 17 1004 2000
    # The machine's own address leads on, too.
    $IPT -F FORWARD
    case $FAMILY in
        4) to=${N0}2:80 ;;
        6) to=[${N0}2]:80 ;;
    esac
    $IPT -t nat -A PREROUTING -d ${N1}1 -p udp --dport 8080 -j DNAT --to-destination $to
    through tap1 ${N1}2 ${N1}1 100 17 1005 8080
    expect "tap0 ${N1}2 ${N0}2 100 17 1005 80"
    through tap0 ${N0}2 ${N1}2 100 17 80 1005
    expect "tap1 ${N1}1 ${N1}2 100 17 8080 1005"
    refused $IPT -t nat -A POSTROUTING -j DNAT --to-destination ${N0}2
}
both check
