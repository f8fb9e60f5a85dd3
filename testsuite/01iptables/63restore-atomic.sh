#!/bin/bash
# -restore: all of a table or nothing of it.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    $IPT -A FORWARD -s ${N1}99 -j DROP
    pass tap1 $packet
    before=$($IPT-save | grep -v '^#')
    printf '%s\n' '*filter' ':FORWARD DROP [0:0]' '-A FORWARD -p udp -j DROP' '-A FORWARD -j nowhere' COMMIT >$TMPFILE.rules
    refused $IPT-restore $TMPFILE.rules
    pass tap1 $packet
    printf '%s\n' '*filter' ':FORWARD DROP [0:0]' '-A FORWARD -p udp --dport nonsense -j DROP' COMMIT >$TMPFILE.rules
    refused $IPT-restore $TMPFILE.rules
    pass tap1 $packet
    # --test looks only.
    printf '%s\n' '*filter' ':INPUT ACCEPT [0:0]' ':FORWARD DROP [0:0]' ':OUTPUT ACCEPT [0:0]' '-A FORWARD -p tcp -j ACCEPT' COMMIT >$TMPFILE.rules
    $IPT-restore --test $TMPFILE.rules
    pass tap1 $packet
    [ "$($IPT-save -t filter | grep -v '^#' | sed 's/\[.*//')" = "$(echo "$before" | sed 's/\[.*//')" ]
    $IPT-restore $TMPFILE.rules
    stop tap1 $packet
    pass tap1 ${N1}2 ${N0}2 60 6 1000 80 SYN
    [ $($IPT -S FORWARD | wc -l) = 2 ]
}
both check
