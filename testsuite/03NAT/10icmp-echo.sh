#!/bin/bash
# Two pings with the same identifier behind one address: the second gets another, and each its reply.
. "$LIB"

check() {
    pass tap1 ${N1}2 ${N0}2 100 $ICMP $PING 54 1
    $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source ${N0}9
    through tap1 ${N1}2 ${N0}2 100 $ICMP $PING 55 1
    expect "tap0 ${N0}9 ${N0}2 100 $ICMP $PING 55 1"
    through tap1 ${N1}3 ${N0}2 100 $ICMP $PING 55 1
    grep -q "^tap0 ${N0}9 ${N0}2 100 $ICMP $PING [0-9]* 1$" $TMPFILE
    id=$(cut -d ' ' -f 8 $TMPFILE)
    [ $id != 55 ]
    through tap0 ${N0}2 ${N0}9 100 $ICMP $PONG 55 1
    expect "tap1 ${N0}2 ${N1}2 100 $ICMP $PONG 55 1"
    through tap0 ${N0}2 ${N0}9 100 $ICMP $PONG $id 1
    expect "tap1 ${N0}2 ${N1}3 100 $ICMP $PONG 55 1"
    $IPT -A FORWARD -p $ICMPNAME -j DROP
    stop tap0 ${N0}2 ${N0}9 100 $ICMP $PONG $id 1
}
both check
