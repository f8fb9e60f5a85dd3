#!/bin/bash
# A TCP connection from its first SYN to its end.
. "$LIB"

check() {
    watch
    c="${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 80"
    s="${N0}2 ${N1}2 $((HEAD + 20)) 6 80 1000"
    pass tap1 $c SYN SYN=100
    state NEW
    pass tap0 $s SYN/ACK SYN=500 ACK=101
    state ESTABLISHED
    pass tap1 $c ACK SYN=101 ACK=501
    state ESTABLISHED
    pass tap1 ${N1}2 ${N0}2 $((HEAD + 60)) 6 1000 80 PSH/ACK SYN=101 ACK=501
    state ESTABLISHED
    pass tap0 $s ACK SYN=501 ACK=141
    state ESTABLISHED
    pass tap0 $s FIN/ACK SYN=501 ACK=141
    state ESTABLISHED
    pass tap1 $c FIN/ACK SYN=141 ACK=502
    state ESTABLISHED
    pass tap0 $s ACK SYN=502 ACK=142
    state ESTABLISHED
    # Over: the same ports may be used again.
    pass tap1 $c SYN SYN=90000
    state NEW
    # Without SYN, nothing begins that way: an answer to nothing.
    pass tap0 ${N0}2 ${N1}2 $((HEAD + 20)) 6 81 1000 SYN/ACK SYN=1 ACK=1
    state INVALID
    $IPT -A FORWARD -m conntrack --ctstate INVALID -j DROP
    stop tap0 ${N0}2 ${N1}2 $((HEAD + 20)) 6 81 1000 SYN/ACK SYN=1 ACK=1
}
both check
