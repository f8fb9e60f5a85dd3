#!/bin/bash
# -j CONNMARK: a mark stays with the connection, and goes to packets and back.
. "$LIB"

check() {
    there="${N1}2 ${N0}2 100 17 1000 2000"
    back="${N0}2 ${N1}2 100 17 2000 1000"
    $IPT -A FORWARD -m connmark --mark 0x7 -j DROP
    pass tap1 $there
    pass tap0 $back
    $IPT -t mangle -A PREROUTING -i tap1 -p udp --dport 2000 -j CONNMARK --set-mark 0x7
    stop tap1 $there
    # The other direction has it too.
    stop tap0 $back
    pass tap1 ${N1}2 ${N0}2 100 17 1000 2001
    # From packet to connection, and from connection to packet.
    $IPT -F
    $IPT -t mangle -F
    $IPT -t mangle -A PREROUTING -i tap1 -j MARK --set-mark 0x50
    $IPT -t mangle -A PREROUTING -i tap1 -j CONNMARK --save-mark --nfmask 0xf0 --ctmask 0xff
    $IPT -t mangle -A PREROUTING -i tap0 -j CONNMARK --restore-mark
    $IPT -A FORWARD -i tap0 -m mark --mark 0x50 -j DROP
    pass tap1 $there
    stop tap0 $back
    $IPT -t mangle -R PREROUTING 3 -i tap0 -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0x0f
    pass tap0 $back
}
both check
