#!/bin/bash
# -L and -S show what is there, by number and with counters.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    $IPT -A FORWARD -s ${N1}9 -p tcp --dport 80 -j ACCEPT
    $IPT -A FORWARD -p udp --dport 2000 -j DROP
    stop tap1 $packet
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2001
    [ "$($IPT -S FORWARD | sed -n 1p)" = "-P FORWARD ACCEPT" ]
    [ "$($IPT -S FORWARD | sed -n 2p)" = "-A FORWARD -s ${N1}9/$H -p tcp -m tcp --dport 80 -j ACCEPT" ]
    [ "$($IPT -S FORWARD 2)" = "-A FORWARD -p udp -m udp --dport 2000 -j DROP" ]
    [ "$($IPT -v -S FORWARD 2)" = "-A FORWARD -p udp -m udp --dport 2000 -c 1 100 -j DROP" ]
    $IPT -nL FORWARD --line-numbers | grep -q '^2 .*DROP .*udp dpt:2000'
    [ "$($IPT -nL FORWARD | head -n 1)" = "Chain FORWARD (policy ACCEPT)" ]
    $IPT -nvL FORWARD | grep -q '^ *1 *100 DROP'
    # Large numbers are short without -x.
    $IPT -A FORWARD -c 1234567 98765432100 -j ACCEPT
    $IPT -nvL FORWARD | grep -q '^1235K   99G ACCEPT'
    $IPT -nvxL FORWARD | grep -q '^ *1234567 98765432100 ACCEPT'
}
both check
