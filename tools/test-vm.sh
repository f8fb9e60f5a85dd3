#!/bin/bash
# test-vm.sh [PACKAGE…]: the talk, the units under systemd, the tests of PACKAGE… (default: those that drive the kernel), and our
# WireGuard device with the kernel's, on Debian's own kernel in a virtual machine, where WireGuard, netem and cake are the
# kernel's. Everything is built out here.
# Closes with `N passed, N failed, N skipped` over the tests; the talk must pass with nothing skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(fielato-kernel fielato-control)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

echo "== building the tests of ${packages[*]}"
# cargo names each program on standard error: "  Executable tests/x.rs (target/debug/deps/x-…)".
cargo test --no-run --locked "${packages[@]/#/--package=}" 2>&1 | tee "$folder/build"
sed -n 's/^ *Executable .* (\(.*\))$/\1/p' "$folder/build" | while read -r program; do
    realpath "$program"
done >"$folder/programs"
# The emulation of networks is compared in a machine of its own, where time can be measured.
emulation=$(grep '/emulation-[0-9a-f]*$' "$folder/programs") || emulation=
grep -v '/emulation-[0-9a-f]*$' "$folder/programs" >"$folder/others" || true
mv "$folder/others" "$folder/programs"
# Of these only the tests whose peer is the kernel.
cargo test --no-run --locked --package fielato-io --test interop 2>&1 | tee "$folder/build"
interop=$(sed -n 's/^ *Executable .* (\(.*\))$/\1/p' "$folder/build")
echo "$(realpath "$interop") ::kernel" >>"$folder/programs"
# Older kernels' verifiers are stricter to who has no more than the unit's capabilities.
cargo test --no-run --locked --package fielato --test cli 2>&1 | tee "$folder/build"
service=$(sed -n 's/^ *Executable .* (\(.*\))$/\1/p' "$folder/build")
echo "$(realpath "$service") service::" >>"$folder/programs"

tools/need.sh systemd
failed=0

echo "== the machine itself"
tools/vm.sh -t 120 -- "$PWD/tools/vm/selftest" || exit 1

echo "== fielato lab talk"
if [ -x "$target/release/fielato" ]; then
    if ! tools/vm.sh -t 900 -- "$target/release/fielato" lab talk | tee "$folder/talk"; then
        echo "test-vm.sh: the talk failed"
        failed=1
    fi
    closing=$(grep -E '[0-9]+ passed, [0-9]+ failed' "$folder/talk" | tail -n 1) || closing=
    if ! grep -qE '(^|[^0-9])0 failed' <<<"$closing" || ! grep -qE '[1-9][0-9]* passed' <<<"$closing" ||
        grep -qE '[1-9][0-9]* skipped' <<<"$closing"; then
        echo "test-vm.sh: the talk must pass with nothing failed or skipped, and closed with: ${closing:-nothing}"
        failed=1
    fi
else
    echo "test-vm.sh: $target/release/fielato is missing; run make build"
    failed=1
fi

echo "== the units, started by systemd"
if ! tools/vm.sh -t 600 -- "$PWD/tools/vm/units" "$target/release/fielato"; then
    failed=1
fi

echo "== tests on the kernel"
# One machine for all of them; each runs in its package's folder, as under cargo, one test at a time because the
# machine is slow. What they skip comes back on standard output.
cat >"$folder/run" <<'END'
export FIELATO_SKIPPED=/tmp/skipped
: >"$FIELATO_SKIPPED"
status=0
# A program, perhaps with the part of the names of its tests that are wanted.
for program; do
    echo "-- $program"
    case $program in
    *" "*) "${program% *}" --test-threads=1 "${program##* }" || status=1 ;;
    *) "$program" --test-threads=1 || status=1 ;;
    esac
done
sort -u "$FIELATO_SKIPPED"
exit $status
END
mapfile -t programs <"$folder/programs"
if ! tools/vm.sh -t 2400 -e FIELATO_SLOW_MACHINE=1 -- sh -c "$(cat "$folder/run")" tests ${programs[@]+"${programs[@]}"} | tee "$folder/tests"; then
    failed=1
fi
if [ -n "$emulation" ]; then
    echo "== netem and fq_codel beside the kernel's"
    if ! FIELATO_VM_ACCEL=icount FIELATO_VM_CPUS=1 tools/vm.sh -t 900 -- \
        sh -c 'cd crates/kernel && exec "$0" --test-threads=1' "$emulation" | tee -a "$folder/tests"; then
        failed=1
    fi
fi
tests=$(awk '/^test result: / { passed += $4; failed += $6; ignored += $8 } END { print passed + 0, failed + 0, ignored + 0 }' "$folder/tests")
read -r test_passed test_failed test_ignored <<<"$tests"
skipped=$(sed -n 's/^skipped: \([^ ]*\): .*/\1/p' "$folder/tests" | sort -u | wc -l)
if [ "$failed" != 0 ] && [ "$test_failed" = 0 ]; then
    test_failed=1
fi

echo
echo "$((test_passed - skipped)) passed, $test_failed failed, $((skipped + test_ignored)) skipped"
exit "$failed"
