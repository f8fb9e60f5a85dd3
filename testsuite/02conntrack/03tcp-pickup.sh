#!/bin/bash
# A connection met in its middle is taken up (nf_conntrack_tcp_loose is 1 by default); flags that make no sense are INVALID.
. "$LIB"

check() {
    watch
    pass tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 80 ACK SYN=100 ACK=500
    state NEW
    pass tap0 ${N0}2 ${N1}2 $((HEAD + 20)) 6 80 1000 ACK SYN=500 ACK=100
    state ESTABLISHED
    for flags in SYN/FIN SYN/RST NONE FIN FIN/PSH/URG SYN/FIN/RST/PSH/ACK/URG; do
        pass tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1001 80 $flags
        state INVALID
    done
    pass tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1001 80 RST SYN=9
    state INVALID
    $IPT -A FORWARD -p tcp -m conntrack --ctstate NEW ! --syn -j DROP
    stop tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1002 80 ACK SYN=100 ACK=500
    pass tap1 ${N1}2 ${N0}2 $((HEAD + 20)) 6 1002 80 SYN SYN=100
}
both check
