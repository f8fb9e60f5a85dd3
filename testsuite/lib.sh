# What the scripts share. They run under `bash -e`: a command that fails ends the script.
#
# A host behind tap1 and one behind tap0, with the machine under test between them, talk through it. `both check` runs the function
# check for IPv4 and for IPv6, with
#     N0 N1        what stands before the host part of the addresses behind tap0 and tap1: ${N1}2 is a host, ${N1}1 the machine
#     IPT          iptables or ip6tables
#     W H          bits of a net's prefix, and of a whole address;  HEAD  bytes of the IP header
#     ICMP         the protocol's number;  ICMPNAME its name for -p;  TYPE the option for its types
#     PING PONG    type and code of an echo and of its reply
#     UNREACH      type of "destination unreachable", PORT the code for a port
# Unless it says otherwise, a line of text is a packet in gen_ip's words.

family() {
    case $1 in
        4) N0=$TAP0NET. N1=$TAP1NET. IPT=iptables W=24 H=32 HEAD=20
           ICMP=1 ICMPNAME=icmp TYPE=--icmp-type PING="8 0" PONG="0 0" UNREACH=3 PORT=3 ;;
        6) N0=$TAP0NET6:: N1=$TAP1NET6:: IPT=ip6tables W=64 H=128 HEAD=40
           ICMP=58 ICMPNAME=icmpv6 TYPE=--icmpv6-type PING="128 0" PONG="129 0" UNREACH=1 PORT=4 ;;
    esac
    FAMILY=$1
}

both() {
    for each in 4 6; do
        family $each
        "$@"
    done
}

fail() {
    echo "$*"
    exit 1
}

skip() {
    echo "$*"
    exit 77
}

# out TAP: what came out since the last time, after what was written to TAP has been judged, into $TMPFILE: a tap's name and a packet a line.
# RCV has options for rcv_ip.
out() {
    fence tap0 tap1 >"$TAPS/$1"
    : >"$TMPFILE"
    for tap in tap0 tap1; do
        status=0
        # shellcheck disable=SC2086 # several words
        rcv_ip 10 1000 $RCV <"$TAPS/$tap" >"$TMPFILE.$tap" || status=$?
        # 3: it met the fence.
        [ $status = 3 ] || fail "rcv_ip on $tap ended with $status"
        [ ! -s "$TMPFILE.$tap" ] || sed "s/^/$tap /" "$TMPFILE.$tap" >>"$TMPFILE"
    done
}
RCV=

# through TAP PACKET: the packet arrives at the tap.
through() {
    into=$1
    shift
    # shellcheck disable=SC2068 # words of one line
    gen_ip $@ >"$TAPS/$into"
    out "$into"
}

# from_here PACKET: the machine sends it.
from_here() {
    # shellcheck disable=SC2068
    gen_ip $@ | local_ip
    out tap0
}

# expect [LINE…]: just this came out.
expect() {
    : >"$TMPFILE.expected"
    for line; do
        # shellcheck disable=SC2086 # one space between words
        echo $line >>"$TMPFILE.expected"
    done
    [ "$(<"$TMPFILE.expected")" = "$(<"$TMPFILE")" ] ||
        diff -u --label expected --label "came out" "$TMPFILE.expected" "$TMPFILE" || exit 1
}

# pass TAP PACKET: it comes out of the other tap as it went in, and nothing else does. stop: nothing comes out anywhere.
pass() {
    through "$@"
    case $1 in
        tap0) shift; expect "tap1 $*" ;;
        *) shift; expect "tap0 $*" ;;
    esac
}

stop() {
    through "$@"
    expect
}

# refused COMMAND…: the command fails; what it says is in $TMPFILE.
refused() {
    if "$@" >"$TMPFILE" 2>&1; then
        fail "this did not fail: $*"
    fi
}

# counted TABLE CHAIN RULE: packets and bytes that rule number RULE (0: the policy) has counted.
counted() {
    if [ "$3" = 0 ]; then
        $IPT -t "$1" -nvxL "$2" | sed -n '1s/.* \([0-9]*\) packets, \([0-9]*\) bytes.*/\1 \2/p'
    else
        $IPT -t "$1" -nvxL "$2" "$3" | awk '{ print $1, $2 }'
    fi
}

# count_is TABLE CHAIN RULE PACKETS [BYTES]
count_is() {
    # shellcheck disable=SC2046 # two words
    set -- "$@" $(counted "$1" "$2" "$3")
    case $# in
        6) [ "$4" = "$5" ] || fail "$1 $2 $3: counted $5 packets, not $4" ;;
        7) [ "$4 $5" = "$6 $7" ] || fail "$1 $2 $3: counted $6 packets and $7 bytes, not $4 and $5" ;;
        *) fail "$1 $2 $3: no such rule" ;;
    esac
}

# watch: from now on, `state STATE` says that the last packet crossed FORWARD in that connection tracking state.
STATES="NEW ESTABLISHED RELATED INVALID UNTRACKED"
watch() {
    for each_state in $STATES; do
        $IPT -t mangle -A FORWARD -m conntrack --ctstate $each_state
    done
}

state() {
    rule=0
    for each_state in $STATES; do
        rule=$((rule + 1))
        if [ "$each_state" = "$1" ]; then
            count_is mangle FORWARD $rule 1
        else
            count_is mangle FORWARD $rule 0
        fi
    done
    $IPT -t mangle -Z FORWARD
}

# The old programs change rules of the user-space engine only.
needs_ipchains() {
    [ "$ENGINE" = userspace ] || skip "ipchains and ipfwadm work on the user-space engine only"
    ipchains -L >/dev/null 2>&1 || skip "this fielato has no ipchains"
}
