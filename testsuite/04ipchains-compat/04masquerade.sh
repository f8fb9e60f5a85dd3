#!/bin/bash
# ipchains: MASQ in forward.
. "$LIB"

needs_ipchains
family 4
packet="${N0}2 100 17 1000 2000"
pass tap1 ${N1}2 $packet
ipchains -A forward -s ${N1}0/24 -j MASQ
through tap1 ${N1}2 ${N0}2 100 17 1001 2000
grep -q "^tap0 ${N0}1 ${N0}2 100 17 [0-9]* 2000$" $TMPFILE
port=$(cut -d ' ' -f 6 $TMPFILE)
through tap0 ${N0}2 ${N0}1 100 17 2000 $port
expect "tap1 ${N0}2 ${N1}2 100 17 2000 1001"
ipchains -I forward -p udp -j DENY
stop tap1 ${N1}2 ${N0}2 100 17 1001 2000
