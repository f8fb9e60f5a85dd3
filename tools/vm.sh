#!/bin/bash
# vm.sh [-t SECONDS] [-m MODULE]… [-e NAME=VALUE]… -- COMMAND [ARGUMENT…]
#
# Runs COMMAND as root on Debian's own kernel in a virtual machine and exits with its status. The machine sees this
# machine's files as they are; what it writes to them is forgotten when it ends, save in /run/share, which is
# target/vm/run/PID/share here. Its /tmp and /run begin empty, and it has no network. Standard output and error of COMMAND
# come out on standard output.
#
# The kernel is downloaded, not installed: nothing in /boot or /lib/modules changes.
#
# FIELATO_VM_ACCEL=kvm   use hardware virtualisation; software emulation otherwise, which works everywhere
# FIELATO_VM_ACCEL=icount   the machine's time is the number of its instructions: it is never late, however busy this
#                           machine is, and time in which it has nothing to do passes at once
# FIELATO_VM_CPUS, FIELATO_VM_MEMORY   default 2 and 2G
#
# Exit status: COMMAND's; 124 when it ran out of time; 125 when the machine itself failed.
set -euo pipefail

usage() {
    sed -n '2s/^# //p' "$0" >&2
    exit 125
}

limit=600
modules=(wireguard tun veth dummy nf_tables nft_chain_nat sch_netem sch_cake sch_fq_codel sch_htb sch_tbf)
environment=()
while getopts t:m:e: option; do
    case $option in
    t) limit=$OPTARG ;;
    m) modules+=("$OPTARG") ;;
    e) environment+=("$OPTARG") ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage

here=$(cd "$(dirname "$0")/.." && pwd)
home=${CARGO_TARGET_DIR:-$here/target}/vm
if [ "$(dpkg --print-architecture)" != amd64 ]; then
    echo "vm.sh: the virtual machine is an amd64 one; run this on amd64" >&2
    exit 125
fi
"$here/tools/need.sh" qemu-system-x86 busybox-static kmod iproute2 || exit 125
mkdir -p "$home"

# Downloads Debian's kernel and unpacks it; done once, and again after `rm -r target/vm`.
fetch_kernel() {
    local package part=$home/kernel.part
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '$1 == "Depends:" && /linux-image-/ { print $2; exit }')
    if [ -z "$package" ] && [ "$(id -u)" = 0 ]; then
        apt-get update -q >&2
        package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" && /linux-image-/ { print $2; exit }')
    fi
    if [ -z "$package" ]; then
        echo "vm.sh: apt knows no linux-image-amd64; run apt-get update as root" >&2
        exit 125
    fi
    echo "vm.sh: fetching $package (about 70 MB)" >&2
    rm -rf "$part"
    mkdir -p "$part"
    # As root, apt would drop to a user who may not write here.
    (cd "$part" && apt-get -q -o APT::Sandbox::User=root download "$package" >&2)
    dpkg-deb --extract "$part"/linux-image-*.deb "$part"
    rm "$part"/linux-image-*.deb
    depmod --basedir "$part" "$(ls "$part/lib/modules")"
    mv "$part" "$home/kernel"
}

# Packs busybox, `init` and the modules that reach the host's files.
build_initramfs() {
    local tree module file
    tree=$(mktemp -d "$home/initramfs.XXXXXX")
    mkdir -p "$tree"/{bin,proc,sys,dev}
    cp /bin/busybox "$tree/bin/busybox"
    cp "$here/tools/vm/init" "$tree/init"
    chmod 755 "$tree/init"
    for module in virtio_pci 9pnet_virtio 9p overlay; do
        modprobe --dirname "$home/kernel" --set-version "$release" --show-depends "$module"
    done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r file; do
        install -D -m 644 "$file" "$tree/lib/modules/${file#"$home/kernel/lib/modules/"}"
    done
    cp "$home/kernel/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$tree/lib/modules/$release/"
    depmod --basedir "$tree" "$release"
    (cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null) >"$run/initramfs"
    rm -r "$tree"
}

[ -d "$home/kernel" ] || fetch_kernel
release=$(ls "$home/kernel/lib/modules")

run=$home/run/$$
rm -rf "$run"
mkdir -p "$run/share"
# The console's log stays when something went wrong.
keep=yes
finish() { [ -n "$keep" ] || rm -rf "$run"; }
trap finish EXIT
build_initramfs

cp "$here/tools/vm/guest" "$run/share/guest"
echo "$home/kernel/lib/modules" >"$run/share/modules"
printf '%s\n' "${modules[@]}" >"$run/share/load"
# A machine that passes over idle time does so, too, while it waits for this one: its own clock says nothing about patience.
case ${FIELATO_VM_ACCEL:-tcg} in
icount) echo $((limit * 1000)) ;;
*) echo "$limit" ;;
esac >"$run/share/limit"
pwd >"$run/share/cwd"
{
    for pair in ${environment[@]+"${environment[@]}"}; do
        printf 'export %q\n' "$pair"
    done
    printf 'exec'
    # Single quotes: the guest's sh knows no $'…', which printf %q may write.
    for word; do printf " '%s'" "${word//\'/\'\\\'\'}"; done
    echo
} >"$run/share/command"

case ${FIELATO_VM_ACCEL:-tcg} in
kvm) accel=(-accel kvm -cpu host) ;;
icount) accel=(-accel 'tcg,thread=single' -cpu max -icount "shift=${FIELATO_VM_SHIFT:-3},sleep=off") ;;
*) accel=(-accel 'tcg,thread=multi' -cpu max) ;;
esac

# --foreground: otherwise Ctrl-C would not reach the machine.
status=0
timeout --foreground --kill-after=10 $((limit + 120)) qemu-system-x86_64 \
    -machine q35 "${accel[@]}" -smp "${FIELATO_VM_CPUS:-2}" -m "${FIELATO_VM_MEMORY:-2G}" \
    -nodefaults -display none -no-reboot -nic none \
    -kernel "$home/kernel/boot/vmlinuz-$release" -initrd "$run/initramfs" \
    -append 'console=ttyS0 quiet panic=-1 sysrq_always_enabled=1 random.trust_cpu=on' \
    -chardev "file,id=console,path=$run/console.log" -serial chardev:console \
    -chardev stdio,id=out,signal=on -serial chardev:out \
    -device virtio-rng-pci \
    -virtfs local,path=/,mount_tag=root,security_model=none,multidevs=remap,readonly=on \
    -virtfs "local,path=$run/share,mount_tag=share,security_model=none" </dev/null || status=$?

if [ ! -s "$run/share/status" ]; then
    echo "vm.sh: the machine ended (qemu: $status) before the command did; the end of $run/console.log:" >&2
    tail -n 20 "$run/console.log" >&2 || true
    exit 125
fi
status=$(cat "$run/share/status")
echo "vm.sh: Linux $release, up after $(cat "$run/share/boot") s, exit status $status" >&2
[ "$status" != 0 ] || keep=
exit "$status"
