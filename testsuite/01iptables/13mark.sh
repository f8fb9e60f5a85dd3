#!/bin/bash
# -j MARK and -m mark: a mark stays with the packet from hook to hook.
. "$LIB"

check() {
    packet="${N1}2 ${N0}2 100 17 1000 2000"
    pass tap1 $packet
    $IPT -A FORWARD -m mark --mark 0x11 -j DROP
    pass tap1 $packet
    $IPT -t mangle -A PREROUTING -p udp -j MARK --set-mark 0x11
    stop tap1 $packet
    pass tap1 ${N1}2 ${N0}2 100 6 1000 2000 SYN
    # Bits: set, or, and, xor; and looked at under a mask.
    $IPT -R FORWARD 1 -m mark --mark 0x10/0xf0 -j DROP
    stop tap1 $packet
    $IPT -R FORWARD 1 -m mark --mark 0x37 -j DROP
    $IPT -t mangle -A PREROUTING -j MARK --or-mark 0x26
    stop tap1 $packet
    $IPT -R FORWARD 1 -m mark --mark 0x30 -j DROP
    pass tap1 $packet
    $IPT -t mangle -A PREROUTING -j MARK --and-mark 0xf0
    stop tap1 $packet
    $IPT -t mangle -A PREROUTING -j MARK --xor-mark 0x31
    pass tap1 $packet
    $IPT -R FORWARD 1 -m mark ! --mark 0 -j DROP
    stop tap1 $packet
    $IPT -t mangle -A PREROUTING -j MARK --set-xmark 0x0/0xffffffff
    pass tap1 $packet
    # --set-mark VALUE/MASK clears the mask's bits and sets the value's.
    $IPT -t mangle -F
    $IPT -t mangle -A PREROUTING -j MARK --set-mark 0xff
    $IPT -t mangle -A PREROUTING -j MARK --set-mark 0x1/0xf
    $IPT -R FORWARD 1 -m mark --mark 0xf1 -j DROP
    stop tap1 $packet
}
both check
