#!/bin/bash
# ipchains: a forwarded packet meets input, forward and output; any of them can deny it.
. "$LIB"

needs_ipchains
family 4
packet="${N1}2 ${N0}2 100 17 1000 2000"
for chain in input forward output; do
    pass tap1 $packet
    ipchains -A $chain -s ${N1}2 -j DENY
    stop tap1 $packet
    pass tap1 ${N1}3 ${N0}2 100 17 1000 2000
    ipchains -F $chain
done
# The interface is the way in for input, the way out for the others.
for pair in input:tap1 forward:tap0 output:tap0; do
    ipchains -A ${pair%:*} -i ${pair#*:} -j DENY
    stop tap1 $packet
    ipchains -F ${pair%:*}
    pass tap1 $packet
done
