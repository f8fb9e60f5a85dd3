#!/bin/bash
# DNAT in OUTPUT: the machine's own packet is routed again to where it goes now.
. "$LIB"

check() {
    from_here ${N1}1 ${N1}2 100 17 1000 2000
    expect "tap1 ${N1}1 ${N1}2 100 17 1000 2000"
    $IPT -t nat -A OUTPUT -d ${N1}2 -p udp --dport 2000 -j DNAT --to-destination ${N0}5
    from_here ${N1}1 ${N1}2 100 17 1001 2000
    expect "tap0 ${N1}1 ${N0}5 100 17 1001 2000"
    from_here ${N1}1 ${N1}2 100 17 1001 2001
    expect "tap1 ${N1}1 ${N1}2 100 17 1001 2001"
    $IPT -A OUTPUT -d ${N0}5 -j DROP
    from_here ${N1}1 ${N1}2 100 17 1002 2000
    expect
}
both check
