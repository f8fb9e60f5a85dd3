#!/bin/bash
# A list of addresses makes a rule for each; -D takes them away together.
. "$LIB"

check() {
    $IPT -A FORWARD -s ${N1}2,${N1}3 -d ${N0}2,${N0}3 -j DROP
    [ $($IPT -S FORWARD | wc -l) = 5 ]
    for source in 2 3; do
        for destination in 2 3; do
            stop tap1 ${N1}$source ${N0}$destination 100 17 1000 2000
        done
        pass tap1 ${N1}$source ${N0}4 100 17 1000 2000
    done
    pass tap1 ${N1}4 ${N0}2 100 17 1000 2000
    $IPT -D FORWARD -s ${N1}2,${N1}3 -d ${N0}2,${N0}3 -j DROP
    [ $($IPT -S FORWARD | wc -l) = 1 ]
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2000
    refused $IPT -A FORWARD ! -s ${N1}2,${N1}3 -j DROP
}
both check
