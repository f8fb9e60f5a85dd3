#!/bin/bash
# Which hooks a packet crosses: forwarded, to the machine, from the machine.
. "$LIB"

check() {
    hooks="PREROUTING INPUT FORWARD OUTPUT POSTROUTING"
    for hook in $hooks; do
        $IPT -t mangle -A $hook
    done
    crossed() { # crossed PACKETS…: a number for each hook; starts anew
        for hook in $hooks; do
            count_is mangle $hook 1 $1
            shift
        done
        $IPT -t mangle -Z
    }
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    crossed 1 0 1 0 1
    # A ping to the machine, and its answer.
    through tap1 ${N1}2 ${N1}1 100 $ICMP $PING 1 2
    expect "tap1 ${N1}1 ${N1}2 100 $ICMP $PONG 1 2"
    crossed 1 1 0 1 1
    from_here ${N0}1 ${N0}2 100 17 1000 2000
    expect "tap0 ${N0}1 ${N0}2 100 17 1000 2000"
    crossed 0 0 0 1 1
    # Stopped at a hook, it crosses no further one.
    $IPT -t mangle -I FORWARD -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1000 2000
    count_is mangle PREROUTING 1 1
    count_is mangle POSTROUTING 1 0
}
both check
