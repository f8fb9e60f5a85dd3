#!/bin/bash
# -m addrtype: what an address is to this machine.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -t raw -A PREROUTING -m addrtype --dst-type LOCAL -j DROP
    pass tap1 $packet
    stop tap1 ${N1}2 ${N1}1 100 $ICMP $PING 1 2
    stop tap1 ${N1}2 ${N0}1 100 $ICMP $PING 1 2
    $IPT -t raw -R PREROUTING 1 -m addrtype --dst-type UNICAST -j DROP
    stop tap1 $packet
    $IPT -t raw -R PREROUTING 1 -m addrtype ! --src-type UNICAST -j DROP
    pass tap1 $packet
    $IPT -t raw -R PREROUTING 1 -m addrtype ! --src-type LOCAL -j DROP
    stop tap1 $packet
}
both check
