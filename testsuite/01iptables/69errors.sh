#!/bin/bash
# Wrong commands change nothing and tell by their exit codes what is wrong: 2 the words, 1 the rule.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    status() { # status CODE ARGUMENT…
        code=0
        expected=$1
        shift
        $IPT "$@" 2>$TMPFILE || code=$?
        [ $code = $expected ] || fail "$*: exit code $code, not $expected: $(cat $TMPFILE)"
        [ $code = 0 ] || grep -q . $TMPFILE || fail "$*: says nothing"
    }
    status 0 -A FORWARD -s ${N1}99 -j DROP
    status 2 -A FORWARD -s
    status 2 -A FORWARD -j
    status 2 -A
    status 2 -A FORWARD --nonsense
    status 2 -A FORWARD -p udp --dport 1:2:3
    status 2 -A FORWARD -s 300.1.2.3.4
    status 2 -A FORWARD -p nonsense
    status 2 -m nonsense -A FORWARD
    status 1 -A NOWHERE -j DROP
    status 2 -A FORWARD -j NOWHERE
    status 1 -D FORWARD 2
    status 1 -D FORWARD -s ${N1}98 -j DROP
    status 1 -N FORWARD
    status 3 -t nonsense -L
    [ $($IPT -S FORWARD | wc -l) = 2 ]
    pass tap1 $packet
    stop tap1 ${N1}99 ${N0}2 100 17 1000 2000
}
both check
