#!/bin/bash
# ipchains: REJECT tells the sender, DENY does not; the policy can do either.
. "$LIB"

needs_ipchains
family 4
packet="${N1}2 ${N0}2 28 17 1000 2000"
pass tap1 $packet
ipchains -A forward -p udp -j REJECT
through tap1 $packet
expect "tap1 TOS=192 ${N1}1 ${N1}2 56 1 3 3 [ $packet ]"
ipchains -R forward 1 -p udp -j DENY
stop tap1 $packet
ipchains -D forward 1
pass tap1 $packet
ipchains -P forward DENY
stop tap1 $packet
ipchains -A forward -s ${N1}2 -j ACCEPT
pass tap1 $packet
