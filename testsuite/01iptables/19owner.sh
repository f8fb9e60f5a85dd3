#!/bin/bash
# -m owner: who sent the machine's own packet; there is none to ask for others, so it is refused elsewhere.
. "$LIB"

check() {
    packet="${N0}1 ${N0}2 100 17 1000 2000"
    from_here $packet
    expect "tap0 $packet"
    $IPT -A OUTPUT -p udp -m owner --uid-owner 4321 -j DROP
    from_here $packet
    expect "tap0 $packet"
    $IPT -A OUTPUT -p udp -m owner --uid-owner 0 -j DROP
    from_here $packet
    expect
    $IPT -R OUTPUT 2 -p udp -m owner ! --gid-owner 4321 -j DROP
    from_here $packet
    expect
    $IPT -R OUTPUT 2 -p udp -m owner ! --socket-exists -j DROP
    from_here $packet
    expect "tap0 $packet"
    refused $IPT -A INPUT -m owner --uid-owner 0
    refused $IPT -A FORWARD -m owner --uid-owner 0
}
both check
