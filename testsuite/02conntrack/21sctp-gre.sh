#!/bin/bash
# SCTP by its chunks, and protocols without ports by their addresses.
. "$LIB"

check() {
    watch
    init='\001\000\000\024\000\000\000\007\000\000\377\377\000\001\000\001\000\000\000\001'
    printf $init | gen_ip ${N1}2 ${N0}2 0 132 1000 2000 DATA >$TAPS/tap1
    out tap1
    expect "tap0 ${N1}2 ${N0}2 $((HEAD + 32)) 132 1000 2000"
    state NEW
    # A chunk of length 0 is none.
    pass tap1 ${N1}2 ${N0}2 $((HEAD + 32)) 132 1001 2000
    state INVALID
    pass tap1 ${N1}2 ${N0}2 60 99
    state NEW
    pass tap0 ${N0}2 ${N1}2 60 99
    state ESTABLISHED
    $IPT -A FORWARD -m conntrack --ctstate ESTABLISHED -j DROP
    stop tap1 ${N1}2 ${N0}2 60 99
    pass tap1 ${N1}3 ${N0}2 60 99
}
both check
