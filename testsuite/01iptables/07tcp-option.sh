#!/bin/bash
# --tcp-option: an option by its number, wherever it stands.
. "$LIB"

check() {
    tcp() {
        echo "${N1}2 ${N0}2 80 6 1000 80 SYN $1"
    }
    $IPT -A FORWARD -p tcp --tcp-option 4 -j DROP
    pass tap1 $(tcp)
    pass tap1 $(tcp OPT=mss:1460,nop,wscale:7)
    stop tap1 $(tcp OPT=sackok)
    stop tap1 $(tcp OPT=mss:1460,nop,wscale:7,sackok)
    $IPT -R FORWARD 1 -p tcp ! --tcp-option 2 -j DROP
    pass tap1 $(tcp OPT=mss:1460,sackok)
    stop tap1 $(tcp OPT=sackok)
    stop tap1 $(tcp)
}
both check
