#!/bin/bash
# A packet of the machine goes through OUTPUT and not through FORWARD.
. "$LIB"

check() {
    packet="${N0}1 ${N0}2 100 17 1000 2000"
    from_here $packet
    expect "tap0 $packet"
    from_here ${N1}1 ${N1}2 100 17 1000 2000
    expect "tap1 ${N1}1 ${N1}2 100 17 1000 2000"
    $IPT -P FORWARD DROP
    $IPT -P INPUT DROP
    from_here $packet
    expect "tap0 $packet"
    $IPT -A OUTPUT -o tap0 -j DROP
    from_here $packet
    expect
    from_here ${N1}1 ${N1}2 100 17 1000 2000
    expect "tap1 ${N1}1 ${N1}2 100 17 1000 2000"
}
both check
