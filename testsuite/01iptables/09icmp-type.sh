#!/bin/bash
# ICMP types: by number, with code, by name.
. "$LIB"

check() {
    ping="${N1}2 ${N0}2 100 $ICMP $PING 55 57"
    pong="${N1}2 ${N0}2 100 $ICMP $PONG 55 57"
    for type in ${PING% 0} ${PING% 0}/0 echo-request; do
        pass tap1 $ping
        $IPT -A FORWARD -p $ICMPNAME $TYPE $type -j DROP
        stop tap1 $ping
        pass tap1 $pong
        $IPT -F
    done
    $IPT -A FORWARD -p $ICMPNAME ! $TYPE echo-reply -j DROP
    stop tap1 $ping
    pass tap1 $pong
    $IPT -F
    about="[ ${N0}2 ${N1}2 $((HEAD + 8)) 17 1 2 ]"
    length=$((2 * HEAD + 16))
    pass tap1 ${N1}2 ${N0}2 $length $ICMP $UNREACH 0 $about
    pass tap1 ${N1}2 ${N0}2 $length $ICMP $UNREACH $PORT $about
    $IPT -A FORWARD -p $ICMPNAME $TYPE port-unreachable -j DROP
    pass tap1 ${N1}2 ${N0}2 $length $ICMP $UNREACH 0 $about
    stop tap1 ${N1}2 ${N0}2 $length $ICMP $UNREACH $PORT $about
    $IPT -A FORWARD -p $ICMPNAME $TYPE destination-unreachable -j DROP
    stop tap1 ${N1}2 ${N0}2 $length $ICMP $UNREACH 0 $about
}
both check
