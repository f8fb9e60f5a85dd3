#!/bin/bash
# The machine's own connections are tracked as well.
. "$LIB"

check() {
    $IPT -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
    $IPT -A INPUT -m conntrack --ctstate NEW
    $IPT -A OUTPUT -m conntrack --ctstate ESTABLISHED
    through tap1 ${N1}2 ${N1}1 100 $ICMP $PING 1 2
    expect "tap1 ${N1}1 ${N1}2 100 $ICMP $PONG 1 2"
    count_is filter INPUT 2 1
    count_is filter OUTPUT 1 1
    $IPT -A INPUT -j DROP
    stop tap1 ${N1}2 ${N1}1 100 $ICMP $PING 2 2
    # It asks itself: the answer may come in.
    from_here ${N1}1 ${N1}2 100 $ICMP $PING 3 3
    expect "tap1 ${N1}1 ${N1}2 100 $ICMP $PING 3 3"
    stop tap1 ${N1}2 ${N1}1 100 $ICMP $PONG 3 3
    count_is filter INPUT 1 1
}
both check
