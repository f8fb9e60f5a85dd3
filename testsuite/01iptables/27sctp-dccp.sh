#!/bin/bash
# Matches on protocols that other rules treat as any: sctp, dccp; and -m comment changes nothing.
. "$LIB"

check() {
    sctp="${N1}2 ${N0}2 60 132 1000 2000"
    dccp="${N1}2 ${N0}2 80 33 1000 2000"
    pass tap1 $sctp
    pass tap1 $dccp 0
    $IPT -A FORWARD -p sctp --dport 2000 -m comment --comment "streams" -j DROP
    stop tap1 $sctp
    pass tap1 $dccp 0
    pass tap1 ${N1}2 ${N0}2 60 132 1000 2001
    $IPT -A FORWARD -p dccp --sport 1000 --dccp-types REQUEST,RESET -j DROP
    stop tap1 $dccp 0
    pass tap1 $dccp 3
    $IPT -S | grep -q -- '--comment streams'
}
both check
