#!/bin/bash
# The order of the tables at a hook: raw, mangle, nat, filter, security.
. "$LIB"

check() {
    # The nat table needs connection tracking, which begins with the first rule that asks for it.
    $IPT -t mangle -A OUTPUT -m conntrack --ctstate NEW
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    for table in raw mangle nat; do
        $IPT -t $table -A PREROUTING
    done
    for table in mangle filter security; do
        $IPT -t $table -A FORWARD
    done
    pass tap1 $packet
    for table in raw mangle nat; do
        count_is $table PREROUTING 1 1
    done
    for table in mangle filter security; do
        count_is $table FORWARD 1 1
    done
    # Each in turn stops it before the next sees it. The rule that counts comes second then. Other ports: another connection.
    before=security
    for table in filter mangle; do
        $IPT -t $table -I FORWARD -j DROP
        stop tap1 ${N1}2 ${N0}2 100 17 1000 2001
        count_is $before FORWARD 1 1
        count_is $table FORWARD 1 1
        $IPT -t $table -D FORWARD 1
        before=$table
    done
    count_is nat PREROUTING 1 3
    $IPT -t mangle -I PREROUTING -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1000 2002
    count_is nat PREROUTING 1 3
    $IPT -t raw -I PREROUTING -j DROP
    stop tap1 ${N1}2 ${N0}2 100 17 1000 2002
    count_is mangle PREROUTING 1 1
}
both check
