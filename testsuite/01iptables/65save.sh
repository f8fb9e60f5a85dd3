#!/bin/bash
# What is saved and restored is saved the same, and does the same.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -N chain
    $IPT -A chain -s ${N1}2 -p udp -m udp --dport 2000 -m comment --comment "two words" -j DROP
    $IPT -A FORWARD -i tap1 ! -o tap1 -g chain
    $IPT -t mangle -A PREROUTING -p tcp -m multiport --dports 80,443 -j MARK --set-xmark 0x1/0x1
    $IPT -t raw -P OUTPUT DROP
    stop tap1 $packet
    $IPT-save -c | grep -v '^#' >$TMPFILE.first
    grep -q '^\[1:100\] -A chain' $TMPFILE.first
    for table in filter mangle raw; do
        $IPT -t $table -F
        $IPT -t $table -X
    done
    $IPT -t raw -P OUTPUT ACCEPT
    pass tap1 $packet
    $IPT-restore -c $TMPFILE.first
    $IPT-save -c | grep -v '^#' >$TMPFILE.second
    diff $TMPFILE.first $TMPFILE.second
    stop tap1 $packet
}
both check
