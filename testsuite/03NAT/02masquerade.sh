#!/bin/bash
# MASQUERADE: the source becomes the address of the interface the packet leaves by.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    $IPT -t nat -A POSTROUTING -o tap0 -j MASQUERADE
    through tap1 ${N1}2 ${N0}2 100 17 1001 2000
    expect "tap0 ${N0}1 ${N0}2 100 17 1001 2000"
    through tap0 ${N0}2 ${N0}1 100 17 2000 1001
    expect "tap1 ${N0}2 ${N1}2 100 17 2000 1001"
    # Two behind it with the same port: the second gets another.
    through tap1 ${N1}3 ${N0}2 100 17 1001 2000
    grep -q "^tap0 ${N0}1 ${N0}2 100 17 [0-9]* 2000$" $TMPFILE
    port=$(cut -d ' ' -f 6 $TMPFILE)
    [ $port != 1001 ]
    through tap0 ${N0}2 ${N0}1 100 17 2000 $port
    expect "tap1 ${N0}2 ${N1}3 100 17 2000 1001"
    # Ports to be used.
    $IPT -t nat -R POSTROUTING 1 -o tap0 -p udp -j MASQUERADE --to-ports 4000
    through tap1 ${N1}2 ${N0}2 100 17 1002 2000
    expect "tap0 ${N0}1 ${N0}2 100 17 4000 2000"
    # The machine's own address keeps its port.
    through tap1 ${N1}2 ${N0}2 100 6 1002 80 SYN SYN=7
    expect "tap0 ${N1}2 ${N0}2 100 6 1002 80 SYN SYN=7"
    $IPT -A FORWARD -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1003 2000
    refused $IPT -t nat -A PREROUTING -j MASQUERADE
}
both check
