#!/bin/bash
# --syn and --tcp-flags MASK SET.
. "$LIB"

check() {
    tcp() {
        echo "${N1}2 ${N0}2 60 6 1000 80 $1"
    }
    for flags in SYN SYN/ACK ACK RST FIN/ACK NONE FIN/PSH/URG; do
        pass tap1 $(tcp $flags)
    done
    $IPT -A FORWARD -p tcp --syn -j DROP
    stop tap1 $(tcp SYN)
    stop tap1 $(tcp SYN/PSH)
    for flags in SYN/ACK ACK RST FIN/ACK NONE SYN/RST SYN/FIN; do
        pass tap1 $(tcp $flags)
    done
    $IPT -R FORWARD 1 -p tcp ! --syn -j DROP
    pass tap1 $(tcp SYN)
    stop tap1 $(tcp ACK)
    $IPT -R FORWARD 1 -p tcp --tcp-flags ALL NONE -j DROP
    stop tap1 $(tcp NONE)
    pass tap1 $(tcp ACK)
    $IPT -R FORWARD 1 -p tcp --tcp-flags SYN,FIN SYN,FIN -j DROP
    stop tap1 $(tcp SYN/FIN/ACK)
    pass tap1 $(tcp SYN)
    $IPT -R FORWARD 1 -p tcp --tcp-flags ALL FIN,PSH,URG -j DROP
    stop tap1 $(tcp FIN/PSH/URG)
    pass tap1 $(tcp FIN/PSH/ACK/URG)
}
both check
