#!/bin/bash
# ! before an option: all but that.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    # Not true of the packet: it passes. True: it is stopped.
    for pair in "-s ${N1}2|-s ${N1}3" "-d ${N0}0/$W|-d ${N1}0/$W" "-i tap1|-i tap0" "-o tap0|-o tap1" "-p udp|-p tcp" \
        "-p udp --dport 2000|-p udp --dport 2001" "-p udp --sport 1000:1001|-p udp --sport 1:999"; do
        pass tap1 $packet
        not() { # the last option negated
            case $1 in
                "-p udp --"*) echo "-p udp ! ${1#-p udp }" ;;
                *) echo "! $1" ;;
            esac
        }
        $IPT -A FORWARD $(not "${pair%|*}") -j DROP
        pass tap1 $packet
        $IPT -A FORWARD $(not "${pair#*|}") -j DROP
        stop tap1 $packet
        $IPT -F
    done
}
both check
