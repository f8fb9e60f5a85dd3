#!/bin/bash
# ACCEPT in the nat table keeps a connection from the rules behind it.
. "$LIB"

check() {
    $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source ${N0}9
    through tap1 ${N1}2 ${N0}2 100 17 1000 2000
    expect "tap0 ${N0}9 ${N0}2 100 17 1000 2000"
    $IPT -t nat -I POSTROUTING -d ${N0}2 -j ACCEPT
    pass tap1 ${N1}2 ${N0}2 100 17 1001 2000
    through tap1 ${N1}2 ${N0}3 100 17 1001 2000
    expect "tap0 ${N0}9 ${N0}3 100 17 1001 2000"
    $IPT -t nat -N own
    $IPT -t nat -R POSTROUTING 1 -j own
    $IPT -t nat -A own -p udp --dport 2001 -j RETURN
    $IPT -t nat -A own -j SNAT --to-source ${N0}8
    through tap1 ${N1}2 ${N0}2 100 17 1002 2001
    expect "tap0 ${N0}9 ${N0}2 100 17 1002 2001"
    through tap1 ${N1}2 ${N0}2 100 17 1002 2002
    expect "tap0 ${N0}8 ${N0}2 100 17 1002 2002"
    $IPT -P FORWARD DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1002 2002
}
both check
