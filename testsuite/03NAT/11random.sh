#!/bin/bash
# --random-fully: the port is not the one that was asked for, and answers find back.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    for option in --random --random-fully; do
        $IPT -t nat -F
        $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source ${N0}9 $option
        changed=0
        for port in 1001 1002 1003; do
            through tap1 ${N1}2 ${N0}2 100 17 $port 2000
            grep -q "^tap0 ${N0}9 ${N0}2 100 17 [0-9]* 2000$" $TMPFILE
            got=$(cut -d ' ' -f 6 $TMPFILE)
            [ $got = $port ] || changed=$((changed + 1))
            through tap0 ${N0}2 ${N0}9 100 17 2000 $got
            expect "tap1 ${N0}2 ${N1}2 100 17 2000 $port"
        done
        [ $changed != 0 ] || fail "$option: every port stayed"
        $IPT -I FORWARD -i tap1 -j DROP
        stop tap1 ${N1}2 ${N0}2 100 17 1001 2000
        $IPT -F
    done
}
both check
