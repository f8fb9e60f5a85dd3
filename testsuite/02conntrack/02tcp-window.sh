#!/bin/bash
# A segment outside the window is INVALID; inside it is not.
. "$LIB"

check() {
    watch
    c="${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 80"
    s="${N0}2 ${N1}2 $((HEAD + 20)) 6 80 1000"
    pass tap1 $c SYN SYN=100 WIN=1000
    pass tap0 $s SYN/ACK SYN=500 ACK=101 WIN=1000
    pass tap1 $c ACK SYN=101 ACK=501 WIN=1000
    $IPT -t mangle -Z FORWARD
    data="${N1}2 ${N0}2 $((HEAD + 120)) 6 1000 80"
    pass tap1 $data ACK SYN=101 ACK=501 WIN=1000
    state ESTABLISHED
    # Far ahead of what the other side has room for.
    pass tap1 $data ACK SYN=500000 ACK=501 WIN=1000
    state INVALID
    # It acknowledges what was never sent.
    pass tap1 $data ACK SYN=201 ACK=900000 WIN=1000
    state INVALID
    # A reset out of the window too; it ends nothing.
    pass tap0 $s RST SYN=900000
    state INVALID
    pass tap1 $data ACK SYN=201 ACK=501 WIN=1000
    state ESTABLISHED
    $IPT -A FORWARD -m conntrack --ctstate INVALID -j DROP
    stop tap1 $data ACK SYN=500000 ACK=501 WIN=1000
    pass tap1 $data ACK SYN=301 ACK=501 WIN=1000
}
both check
