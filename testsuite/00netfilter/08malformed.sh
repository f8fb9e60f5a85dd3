#!/bin/bash
# What is no packet reaches no hook, and a transport header cut short matches no rule about its ports.
. "$LIB"

check() {
    $IPT -t raw -A PREROUTING
    good="${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 2000 SYN"
    pass tap1 $good
    count_is raw PREROUTING 1 1
    if [ $FAMILY = 4 ]; then
        stop tap1 BADIPSUM $good
        count_is raw PREROUTING 1 1
    fi
    # A wrong checksum of the transport is not the forwarder's matter.
    pass tap1 BADSUM $good
    $IPT -A FORWARD -p tcp --dport 2000 -j ACCEPT
    $IPT -A FORWARD -p udp -j ACCEPT
    $IPT -P FORWARD DROP
    pass tap1 $good
    # xt_tcp drops by itself (hotdrop) what is too short for it, before the second rule.
    $IPT -P FORWARD ACCEPT
    stop tap1 ${N1}2 ${N0}2 $((HEAD + 12)) 6 1000 2000 SYN
    pass tap1 ${N1}2 ${N0}2 $((HEAD + 8)) 17 1000 2000
}
both check
