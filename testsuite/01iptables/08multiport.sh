#!/bin/bash
# -m multiport: lists of ports and ranges.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 53"
    for option in "--dports 53" "--dports 1,2,53" "--dports 1,50:60" "--sports 999:1000,5" "--ports 1,53" "--ports 1000"; do
        pass tap1 $packet
        $IPT -A FORWARD -p udp -m multiport $option -j DROP
        stop tap1 $packet
        $IPT -F
    done
    for option in "--dports 52,54:60" "--sports 53" "--ports 1001,1:52" "! --dports 50:60" "! --ports 7,1000"; do
        $IPT -A FORWARD -p udp -m multiport $option -j DROP
        pass tap1 $packet
    done
    $IPT -A FORWARD -p udp -m multiport ! --dports 1,2 -j DROP
    stop tap1 $packet
    refused $IPT -A FORWARD -p $ICMPNAME -m multiport --dports 1
    refused $IPT -A FORWARD -p udp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16
}
both check
