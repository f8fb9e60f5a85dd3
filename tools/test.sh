#!/bin/bash
# test.sh [CARGO TEST ARGUMENT…]: runs every test of the workspace, documentation tests too, and closes with
#     N passed, N failed, N skipped
# Tests that could not run here name themselves in the file FIELATO_SKIPPED (see crates/testkit); cargo counts them as
# passed, this does not. Fails when a test failed or when something did not build.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export FIELATO_SKIPPED=$folder/skipped
: >"$FIELATO_SKIPPED"

# Bounded, because a test that waits forever must fail here and not stall whoever waits for the result.
timeout --foreground --kill-after=30 "${FIELATO_TEST_LIMIT:-3600}" \
    cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$folder/output"
status=${PIPESTATUS[0]}

# libtest closes each binary with "test result: ok. 3 passed; 0 failed; 1 ignored; …".
count() {
    awk -v word="$1" '/^test result: / {
        for (i = 2; i <= NF; i++) if ($i == word ";") sum += $(i - 1)
    } END { print sum + 0 }' "$folder/output"
}
passed=$(count passed)
failed=$(count failed)
# Tests marked #[ignore] did not run either: "test NAME ... ignored, REASON".
sed -n 's/^test \(.*\) \.\.\. ignored\(, \)\{0,1\}\(.*\)$/ignored: \1: \3/p' "$folder/output" >"$folder/ignored"
ignored=$(count ignored)
# A test that gave two reasons is one test.
sort -u "$FIELATO_SKIPPED" >"$folder/reasons"
skipped=$(sed -n 's/^skipped: \([^ ]*\): .*/\1/p' "$folder/reasons" | sort -u | wc -l)
passed=$((passed - skipped))
skipped=$((skipped + ignored))

# A binary that died counts its tests nowhere; nor does one that did not build.
if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
    if [ "$status" = 124 ]; then
        echo "test.sh: the time limit (FIELATO_TEST_LIMIT) ended the tests"
    else
        echo "test.sh: cargo test failed outside the tests (status $status); see above"
    fi
    failed=1
fi

if [ "$skipped" != 0 ]; then
    echo
    cat "$folder/reasons" "$folder/ignored"
fi
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$status" = 0 ]
