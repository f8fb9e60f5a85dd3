#!/bin/bash
# ipchains: chains of one's own, and RETURN.
. "$LIB"

needs_ipchains
family 4
packet="${N1}2 ${N0}2 100 17 1000 2000"
pass tap1 $packet
ipchains -N own
ipchains -A own -s ${N1}3 -j RETURN
ipchains -A own -p udp -j DENY
ipchains -A forward -j own
stop tap1 $packet
pass tap1 ${N1}3 ${N0}2 100 17 1000 2000
pass tap1 ${N1}2 ${N0}2 60 6 1000 80 SYN
refused ipchains -X own
ipchains -F forward
ipchains -F own
ipchains -X own
pass tap1 $packet
