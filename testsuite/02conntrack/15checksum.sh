#!/bin/bash
# A wrong checksum is INVALID (nf_conntrack_checksum is 1 by default).
. "$LIB"

check() {
    watch
    for packet in "${N1}2 ${N0}2 100 17 1000 2000" "${N1}2 ${N0}2 100 6 1000 80 SYN SYN=5" "${N1}2 ${N0}2 100 $ICMP $PING 5 6"; do
        pass tap1 $packet
        state NEW
        pass tap1 BADSUM $packet
        state INVALID
    done
    $IPT -A FORWARD -m conntrack --ctstate INVALID -j DROP
    stop tap1 BADSUM ${N1}2 ${N0}2 100 17 1000 2000
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
}
both check
