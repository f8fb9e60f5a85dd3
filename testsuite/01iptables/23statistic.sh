#!/bin/bash
# -m statistic --mode nth: one in so many, from a place on.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -A FORWARD -m statistic --mode nth --every 3 --packet 0 -j DROP
    for round in 1 2; do
        stop tap1 $packet
        pass tap1 $packet
        pass tap1 $packet
    done
    $IPT -R FORWARD 1 -m statistic --mode nth --every 3 --packet 1 -j DROP
    for round in 1 2; do
        pass tap1 $packet
        stop tap1 $packet
        pass tap1 $packet
    done
    # Chance: never and always can be told.
    $IPT -R FORWARD 1 -m statistic --mode random --probability 0 -j DROP
    pass tap1 $packet
    $IPT -R FORWARD 1 -m statistic --mode random --probability 1 -j DROP
    stop tap1 $packet
}
both check
