#!/bin/bash
# Ports from a range, and none left when all are taken.
. "$LIB"

check() {
    case $FAMILY in
        4) to=${N0}9:4000-4003 ;;
        6) to=[${N0}9]:4000-4003 ;;
    esac
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    $IPT -t nat -A POSTROUTING -p udp -j SNAT --to-source $to
    : >$TMPFILE.ports
    for port in 1001 1002 1003 1004; do
        through tap1 ${N1}2 ${N0}2 100 17 $port 2000
        sed "s/^tap0 ${N0}9 ${N0}2 100 17 \(400[0-3]\) 2000\$/\1/" $TMPFILE >>$TMPFILE.ports
    done
    # Each once, in any order.
    [ "$(sort $TMPFILE.ports | xargs)" = "4000 4001 4002 4003" ]
    stop tap1 ${N1}2 ${N0}2 100 17 1005 2000
    # Towards another destination they are free.
    through tap1 ${N1}2 ${N0}2 100 17 1005 2001
    grep -q "^tap0 ${N0}9 ${N0}2 100 17 400[0-3] 2001$" $TMPFILE
}
both check
