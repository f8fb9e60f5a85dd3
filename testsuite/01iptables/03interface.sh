#!/bin/bash
# -i and -o: a name, the begin of a name with +.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    for option in "-i tap1" "-o tap0" "-i tap1 -o tap0" "-i tap+" "-o +" "-i ta+ -o tap0+"; do
        pass tap1 $packet
        $IPT -A FORWARD $option -j DROP
        stop tap1 $packet
        $IPT -F
    done
    for option in "-i tap0" "-o tap1" "-i tap" "-o tap00" "-i tap1 -o tap1" "-i eth+"; do
        $IPT -A FORWARD $option -j DROP
        pass tap1 $packet
    done
    # -o means nothing in INPUT, nor -i in OUTPUT.
    refused $IPT -A INPUT -o tap0
    refused $IPT -A OUTPUT -i tap0
}
both check
