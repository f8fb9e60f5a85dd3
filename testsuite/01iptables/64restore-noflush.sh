#!/bin/bash
# -restore --noflush adds; -c takes the counters with it.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    $IPT -A FORWARD -p tcp -j ACCEPT
    pass tap1 $packet
    printf '%s\n' '*filter' '-A FORWARD -p udp -j DROP' COMMIT | $IPT-restore --noflush
    stop tap1 $packet
    [ $($IPT -S FORWARD | wc -l) = 3 ]
    printf '%s\n' '*filter' ':FORWARD ACCEPT [5:500]' '[3:300] -A FORWARD -p udp -j DROP' COMMIT | $IPT-restore -c
    count_is filter FORWARD 1 3 300
    count_is filter FORWARD 0 5 500
    stop tap1 $packet
    count_is filter FORWARD 1 4 400
    # Without -c they start at zero; what is not named stays.
    $IPT -t mangle -A FORWARD -p udp
    printf '%s\n' '*filter' ':FORWARD ACCEPT [5:500]' '[3:300] -A FORWARD -p udp -j DROP' COMMIT | $IPT-restore
    count_is filter FORWARD 1 0 0
    stop tap1 $packet
    count_is mangle FORWARD 1 1
}
both check
