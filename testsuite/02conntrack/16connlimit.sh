#!/bin/bash
# -m connlimit: so many connections at a time from one source.
. "$LIB"

check() {
    syn() {
        echo "${N1}$1 ${N0}2 $((HEAD + 20)) 6 $2 80 SYN SYN=5"
    }
    $IPT -A FORWARD -p tcp --syn -m connlimit --connlimit-above 2 --connlimit-mask $H -j DROP
    pass tap1 $(syn 2 1000)
    pass tap1 $(syn 2 1001)
    stop tap1 $(syn 2 1002)
    pass tap1 $(syn 3 1000)
    # One ends: another may come.
    pass tap0 ${N0}2 ${N1}2 $((HEAD + 20)) 6 80 1000 RST/ACK ACK=6
    pass tap1 $(syn 2 1003)
    stop tap1 $(syn 2 1004)
}
both check
