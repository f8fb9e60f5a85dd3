#!/bin/bash
# A connection is ASSURED when it is more than a question and an answer.
. "$LIB"

check() {
    c="${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 80"
    s="${N0}2 ${N1}2 $((HEAD + 20)) 6 80 1000"
    $IPT -A FORWARD -m conntrack --ctstatus ASSURED -j DROP
    pass tap1 $c SYN SYN=100
    pass tap0 $s SYN/ACK SYN=500 ACK=101
    stop tap1 $c ACK SYN=101 ACK=501
    stop tap0 $s ACK SYN=501 ACK=101
    # UDP: not within the first two seconds.
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    pass tap0 ${N0}2 ${N1}2 100 17 2000 1000
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
}
both check
