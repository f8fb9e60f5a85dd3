#!/bin/bash
# -p: by name, by number, all.
. "$LIB"

check() {
    udp="${N1}2 ${N0}2 100 17 1000 2000"
    tcp="${N1}2 ${N0}2 100 6 1000 2000 SYN"
    gre="${N1}2 ${N0}2 100 47"
    for name in udp 17 UDP; do
        pass tap1 $udp
        $IPT -A FORWARD -p $name -j DROP
        stop tap1 $udp
        pass tap1 $tcp
        pass tap1 $gre
        $IPT -F
    done
    $IPT -A FORWARD -p 47 -j DROP
    stop tap1 $gre
    pass tap1 $udp
    $IPT -A FORWARD -p all -j DROP
    stop tap1 $udp
    stop tap1 $tcp
}
both check
