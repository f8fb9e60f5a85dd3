#!/bin/bash
# NETMAP: one net onto another, host by host.
. "$LIB"

check() {
    case $FAMILY in
        4) outside=172.16.9. ;;
        6) outside=fd00:99:: ;;
    esac
    through tap1 ${N1}2 ${outside}7 100 17 1000 2000
    grep -q "^tap1 .* $ICMP $UNREACH 0" $TMPFILE
    $IPT -t nat -A PREROUTING -i tap1 -d ${outside}0/$W -j NETMAP --to ${N0}0/$W
    $IPT -t nat -A POSTROUTING -o tap0 -s ${N1}0/$W -j NETMAP --to ${outside}0/$W
    for host in 7 8; do
        through tap1 ${N1}$host ${outside}$host 100 17 1001 2000
        expect "tap0 ${outside}$host ${N0}$host 100 17 1001 2000"
    done
    $IPT -A FORWARD -d ${N0}9 -j DROP
    stop tap1 ${N1}2 ${outside}9 100 17 1001 2000
}
both check
