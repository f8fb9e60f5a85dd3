#!/bin/bash
# NEW until an answer came, ESTABLISHED from then on, in both directions; a rule set that lets only answers in.
. "$LIB"

check() {
    watch
    there="${N1}2 ${N0}2 100 17 1000 2000"
    back="${N0}2 ${N1}2 100 17 2000 1000"
    pass tap1 $there
    state NEW
    pass tap1 $there
    state NEW
    pass tap0 $back
    state ESTABLISHED
    pass tap1 $there
    state ESTABLISHED
    # Only those behind tap1 may begin.
    $IPT -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
    $IPT -A FORWARD -i tap1 -m conntrack --ctstate NEW -j ACCEPT
    $IPT -P FORWARD DROP
    stop tap0 ${N0}2 ${N1}2 100 17 2001 1001
    pass tap1 ${N1}2 ${N0}2 100 17 1001 2001
    pass tap0 ${N0}2 ${N1}2 100 17 2001 1001
    # Another port is another connection.
    stop tap0 ${N0}2 ${N1}2 100 17 2002 1001
    stop tap0 ${N0}3 ${N1}2 100 17 2001 1001
}
both check
