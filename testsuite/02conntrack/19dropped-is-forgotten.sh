#!/bin/bash
# A connection whose first packet was dropped is none: its answer is NEW.
. "$LIB"

check() {
    watch
    there="${N1}2 ${N0}2 100 17 1000 2000"
    back="${N0}2 ${N1}2 100 17 2000 1000"
    $IPT -A FORWARD -i tap1 -j DROP
    stop tap1 $there
    state NEW
    pass tap0 $back
    state NEW
    $IPT -F
    pass tap1 $there
    state ESTABLISHED
}
both check
