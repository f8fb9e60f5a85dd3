#!/bin/bash
# -C: whether there is such a rule.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    rule="FORWARD -s ${N1}2 -p udp --dport 2000 -j DROP"
    refused $IPT -C $rule
    pass tap1 $packet
    $IPT -A $rule
    $IPT -C $rule
    stop tap1 $packet
    # (ip6tables 1.8.9 does not look at what -m udp says.)
    [ $FAMILY = 6 ] || refused $IPT -C FORWARD -s ${N1}2 -p udp --dport 2001 -j DROP
    refused $IPT -C FORWARD -s ${N1}3 -p udp --dport 2000 -j DROP
    refused $IPT -C FORWARD -s ${N1}2 -p udp --dport 2000
    refused $IPT -C INPUT -s ${N1}2 -p udp --dport 2000 -j DROP
    # Counters are no part of the rule.
    $IPT -R FORWARD 1 -s ${N1}2 -p udp --dport 2000 -j DROP -c 5 500
    $IPT -C $rule
    $IPT -D $rule
    refused $IPT -C $rule
    pass tap1 $packet
}
both check
