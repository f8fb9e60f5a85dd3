#!/bin/bash
# A reset in the window ends the connection.
. "$LIB"

check() {
    watch
    c="${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 80"
    s="${N0}2 ${N1}2 $((HEAD + 20)) 6 80 1000"
    pass tap1 $c SYN SYN=100
    pass tap0 $s RST/ACK ACK=101
    $IPT -t mangle -Z FORWARD
    # The port was closed: the SYN may come again, as a new connection.
    pass tap1 $c SYN SYN=900
    state NEW
    pass tap0 $s SYN/ACK SYN=500 ACK=901
    pass tap1 $c ACK SYN=901 ACK=501
    $IPT -t mangle -Z FORWARD
    pass tap0 $s RST SYN=501
    state ESTABLISHED
    # This one answered, so its SYN is taken for a late one of the old connection until the server answers.
    pass tap1 $c SYN SYN=80000
    state ESTABLISHED
    $IPT -A FORWARD -m conntrack --ctstate NEW -j DROP
    pass tap1 $c SYN SYN=80000
    stop tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1001 80 SYN SYN=80000
}
both check
