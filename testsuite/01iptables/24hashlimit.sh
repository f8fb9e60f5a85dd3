#!/bin/bash
# -m hashlimit: a limit for each source, or each destination port.
. "$LIB"

check() {
    packet() {
        echo "${N1}$1 ${N0}2 100 17 1000 $2"
    }
    pass tap1 $(packet 2 80)
    $IPT -A FORWARD -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 2 --hashlimit-mode srcip \
        --hashlimit-name source$FAMILY -j DROP
    pass tap1 $(packet 2 80)
    pass tap1 $(packet 2 81)
    stop tap1 $(packet 2 82)
    pass tap1 $(packet 3 80)
    pass tap1 $(packet 3 80)
    stop tap1 $(packet 3 80)
    $IPT -R FORWARD 1 -p udp -m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-mode dstport \
        --hashlimit-name port$FAMILY -j ACCEPT
    $IPT -P FORWARD DROP
    pass tap1 $(packet 2 80)
    stop tap1 $(packet 3 80)
    pass tap1 $(packet 3 81)
    stop tap1 $(packet 3 81)
}
both check
