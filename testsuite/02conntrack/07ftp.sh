#!/bin/bash
# The FTP helper: a data connection that PORT or EPRT, PASV or EPSV announced is RELATED.
. "$LIB"

check() {
    watch
    $IPT -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp
    c="${N1}2 ${N0}2 $((HEAD + 20)) 6 1000 21"
    s="${N0}2 ${N1}2 $((HEAD + 20)) 6 21 1000"
    seq=101 ack=501
    client() { # client TEXT: a line on the control connection
        printf '%s\r\n' "$1" | gen_ip ${N1}2 ${N0}2 0 6 1000 21 PSH/ACK SYN=$seq ACK=$ack DATA >$TAPS/tap1
        out tap1
        seq=$((seq + ${#1} + 2))
    }
    server() {
        printf '%s\r\n' "$1" | gen_ip ${N0}2 ${N1}2 0 6 21 1000 PSH/ACK SYN=$ack ACK=$seq DATA >$TAPS/tap0
        out tap0
        ack=$((ack + ${#1} + 2))
    }
    pass tap1 $c SYN SYN=100
    pass tap0 $s SYN/ACK SYN=500 ACK=101
    pass tap1 $c ACK SYN=101 ACK=501
    data="${N0}2 ${N1}2 $((HEAD + 20)) 6 20"
    pass tap0 $data 1284 SYN
    # The helper looks at lines whose begin it has seen: the second on.
    server "220 ready"
    client "USER anonymous"
    $IPT -t mangle -Z FORWARD
    if [ $FAMILY = 4 ]; then
        client "PORT $(echo ${N1}2 | tr . ,),5,6"
    else
        client "EPRT |2|${N1}2|1286|"
    fi
    $IPT -t mangle -Z FORWARD
    pass tap0 $data 1286 SYN
    state RELATED
    pass tap0 $data 1287 SYN
    state NEW
    # The server names a port.
    client "EPSV"
    if [ $FAMILY = 4 ]; then
        server "227 Entering Passive Mode ($(echo ${N0}2 | tr . ,),8,9)"
    else
        server "229 Entering Extended Passive Mode (|||2057|)"
    fi
    $IPT -t mangle -Z FORWARD
    data="${N1}2 ${N0}2 $((HEAD + 20)) 6 3333"
    pass tap1 $data 2057 SYN
    state RELATED
    pass tap0 ${N0}2 ${N1}2 $((HEAD + 20)) 6 2057 3333 SYN/ACK ACK=1
    state ESTABLISHED
    # With rules: only what is asked for comes in.
    $IPT -A FORWARD -m helper --helper ftp -j ACCEPT
    $IPT -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
    $IPT -P FORWARD DROP
    stop tap1 $data 2058 SYN
    # -m helper means what the helper expected, not the control connection.
    client "EPSV"
    count_is filter FORWARD 1 0
    pass tap1 $data 2057 ACK SYN=1 ACK=1
    count_is filter FORWARD 1 1
}
both check
