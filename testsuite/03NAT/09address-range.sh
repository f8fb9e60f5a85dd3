#!/bin/bash
# A range of addresses: a client keeps the one it got, from connection to connection with --persistent.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source ${N0}10-${N0}13 --persistent
    through tap1 ${N1}2 ${N0}2 100 17 1001 2000
    grep -Eq "^tap0 ${N0}1[0-3] ${N0}2 100 17 1001 2000$" $TMPFILE
    got=$(cut -d ' ' -f 2 $TMPFILE)
    for host in 3 4; do
        through tap1 ${N1}2 ${N0}$host 100 17 1002 2000
        expect "tap0 $got ${N0}$host 100 17 1002 2000"
    done
    through tap0 ${N0}2 $got 100 17 2000 1001
    expect "tap1 ${N0}2 ${N1}2 100 17 2000 1001"
    $IPT -A FORWARD -i tap1 -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1003 2000
}
both check
