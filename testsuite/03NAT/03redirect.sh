#!/bin/bash
# REDIRECT: to the machine itself, on another port.
. "$LIB"

check() {
    syn="${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 80 SYN SYN=7"
    pass tap1 $syn
    $IPT -t nat -A PREROUTING -i tap1 -p tcp --dport 80 -j REDIRECT --to-ports 8080
    # Nobody listens there: the machine's reset comes from the address that was asked.
    through tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1001 80 SYN SYN=7
    expect "tap1 ${N0}2 ${N1}2 $((HEAD + 20)) 6 80 1001 RST/ACK ACK=8"
    $IPT -A INPUT -p tcp -d ${N1}1 --dport 8080 -j DROP
    stop tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1002 80 SYN SYN=7
    pass tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1002 81 SYN SYN=7
}
both check
