#!/bin/bash
# ipchains: ports stand behind addresses, ! before what is excluded, -y is a SYN.
. "$LIB"

needs_ipchains
family 4
udp="${N1}2 ${N0}2 100 17 1000 2000"
pass tap1 $udp
ipchains -A forward -p udp -s 0/0 1000 -d ${N0}0/24 2000:2005 -j DENY
stop tap1 $udp
pass tap1 ${N1}2 ${N0}2 100 17 1001 2000
pass tap1 ${N1}2 ${N0}2 100 17 1000 2006
ipchains -F forward
ipchains -A forward -p udp -d 0/0 ! 53 -j DENY
stop tap1 $udp
pass tap1 ${N1}2 ${N0}2 100 17 1000 53
ipchains -F forward
syn="${N1}2 ${N0}2 60 6 1000 80"
pass tap1 $syn SYN
ipchains -A forward -p tcp -y -j DENY
stop tap1 $syn SYN
pass tap1 $syn ACK
ipchains -F forward
pass tap1 ${N1}2 ${N0}2 84 1 8 0 1 2
# An ICMP type stands where the source port does.
ipchains -A forward -p icmp -s 0/0 echo-request -j DENY
stop tap1 ${N1}2 ${N0}2 84 1 8 0 1 2
