#!/bin/bash
# A connection that would look like one that is there gets another port, though no rule asks for one.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    $IPT -t nat -A PREROUTING -i tap1 -d ${N0}5 -j DNAT --to-destination ${N0}2
    through tap1 ${N1}2 ${N0}2 100 17 1001 2000
    expect "tap0 ${N1}2 ${N0}2 100 17 1001 2000"
    # The same client and port, by the other address: its answers could not be told apart.
    through tap1 ${N1}2 ${N0}5 100 17 1001 2000
    grep -q "^tap0 ${N1}2 ${N0}2 100 17 [0-9]* 2000$" $TMPFILE
    port=$(cut -d ' ' -f 6 $TMPFILE)
    [ $port != 1001 ]
    through tap0 ${N0}2 ${N1}2 100 17 2000 $port
    expect "tap1 ${N0}5 ${N1}2 100 17 2000 1001"
    through tap0 ${N0}2 ${N1}2 100 17 2000 1001
    expect "tap1 ${N0}2 ${N1}2 100 17 2000 1001"
    $IPT -A FORWARD -i tap0 -j DROP
    stop tap0 ${N0}2 ${N1}2 100 17 2000 1001
}
both check
