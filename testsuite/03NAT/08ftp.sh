#!/bin/bash
# FTP through NAT: the address in the command is changed, sequence numbers with it, and the data connection comes in.
. "$LIB"

check() {
    modprobe -q nf_nat_ftp || true
    $IPT -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp
    h=$((HEAD + 20))
    server="${N0}2"
    case $FAMILY in
        4) inside="PORT $(echo ${N1}2 | tr . ,),5,6" outside="PORT $(echo ${N0}123 | tr . ,),5,6" mapped=${N0}123 ;;
        6) inside="EPRT |2|${N1}2|1286|" outside="EPRT |2|fd00:00a0:0000:0000:0000:0000:0000:0123|1286|" mapped=${N0}123 ;;
    esac
    pass tap1 ${N1}2 $server $h 6 999 21 SYN SYN=100
    $IPT -t nat -A POSTROUTING -o tap0 -j SNAT --to-source $mapped
    through tap1 ${N1}2 $server $h 6 1000 21 SYN SYN=100
    expect "tap0 $mapped $server $h 6 1000 21 SYN SYN=100"
    through tap0 $server $mapped $h 6 21 1000 SYN/ACK SYN=500 ACK=101
    through tap1 ${N1}2 $server $h 6 1000 21 ACK SYN=101 ACK=501
    printf 'USER me\r\n' | gen_ip ${N1}2 $server 0 6 1000 21 PSH/ACK SYN=101 ACK=501 DATA >$TAPS/tap1
    out tap1
    printf '%s\r\n' "$inside" | gen_ip ${N1}2 $server 0 6 1000 21 PSH/ACK SYN=110 ACK=501 DATA >$TAPS/tap1
    RCV=DATA out tap1
    sed 's/\r$//; /^tap0 $/d' $TMPFILE >$TMPFILE.text
    mv $TMPFILE.text $TMPFILE
    expect "tap0 $mapped $server $((h + ${#outside} + 2)) 6 1000 21 PSH/ACK SYN=110 ACK=501 DATA" "tap0 $outside"
    # What follows is moved by the difference, and so is what the server acknowledges.
    grown=$((${#outside} - ${#inside}))
    next=$((110 + ${#inside} + 2))
    through tap1 ${N1}2 $server $h 6 1000 21 ACK SYN=$next ACK=501
    expect "tap0 $mapped $server $h 6 1000 21 ACK SYN=$((next + grown)) ACK=501"
    through tap0 $server $mapped $h 6 21 1000 ACK SYN=501 ACK=$((next + grown))
    expect "tap1 $server ${N1}2 $h 6 21 1000 ACK SYN=501 ACK=$next"
    # The data connection reaches the client; another does not.
    through tap0 $server $mapped $h 6 20 1286 SYN SYN=7
    expect "tap1 $server ${N1}2 $h 6 20 1286 SYN SYN=7"
    $IPT -A FORWARD -m conntrack --ctstate RELATED -j DROP
    stop tap0 $server $mapped $h 6 20 1286 SYN SYN=7
}
both check
