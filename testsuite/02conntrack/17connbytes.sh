#!/bin/bash
# -m connbytes: what a connection has carried, when it is counted (nf_conntrack_acct).
. "$LIB"

check() {
    there="${N1}2 ${N0}2 100 17 1000 2000"
    back="${N0}2 ${N1}2 100 17 2000 1000"
    $IPT -A FORWARD -m connbytes --connbytes 3 --connbytes-dir original --connbytes-mode packets -j DROP
    pass tap1 $there
    pass tap1 $there
    pass tap0 $back
    stop tap1 $there
    stop tap0 $back
    $IPT -R FORWARD 1 -m connbytes --connbytes 350: --connbytes-dir both --connbytes-mode bytes -j DROP
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2001
    pass tap0 ${N0}2 ${N1}2 100 17 2001 1000
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2001
    stop tap1 ${N1}2 ${N0}2 100 17 1000 2001
}
both check
