#!/bin/bash
# The TFTP helper: the answer comes from a port of its own.
. "$LIB"

check() {
    watch
    $IPT -t raw -A PREROUTING -p udp --dport 69 -j CT --helper tftp
    read="${N1}2 ${N0}2 0 17 1000"
    ask() { # ask PORT
        printf '\000\001file\000octet\000' | gen_ip $read $1 DATA >$TAPS/tap1
        out tap1
    }
    ask 70
    pass tap0 ${N0}2 ${N1}2 100 17 5000 1000
    $IPT -t mangle -Z FORWARD
    pass tap0 ${N0}2 ${N1}2 100 17 5001 1000
    state NEW
    ask 69
    $IPT -t mangle -Z FORWARD
    pass tap0 ${N0}2 ${N1}2 100 17 5002 1000
    state RELATED
    pass tap1 ${N1}2 ${N0}2 100 17 1000 5002
    state ESTABLISHED
    $IPT -A FORWARD -i tap0 -m conntrack --ctstate NEW -j DROP
    stop tap0 ${N0}2 ${N1}2 100 17 5003 1000
    ask 69
    pass tap0 ${N0}2 ${N1}2 100 17 5004 1000
}
both check
