#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make check`: install what is missing, build, and run every suite's slice. What had to be left out is
# listed at the end; with REQUIRE_ALL=1 leaving anything out is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)
declare -a failed=() left=() unsteady=()

step() { # name command...
    local name=$1 start=$SECONDS
    shift
    printf '== %s\n' "$name"
    if "$@"; then
        printf '   %s: ok (%d s)\n' "$name" $((SECONDS - start))
    else
        printf '   %s: FAILED (%d s)\n' "$name" $((SECONDS - start))
        failed+=("$name")
    fi
}

step dependencies scripts/deps.sh test
[ ${#failed[@]} -eq 0 ] || exit 1
step build make -s -j"$jobs" all
[ ${#failed[@]} -eq 0 ] || exit 1
step unit make -s -j"$jobs" unit

# One or two tests that failed beside others get a second run by themselves. What passes then is told
# at the end: it is a fault of the test or a rare one of ours, and somebody has to find it.
again() { # the lines of what failed
    if [ "$(printf '%s\n' "$1" | grep -c .)" -le 2 ] &&
        build/venv/bin/pytest -q --last-failed --last-failed-no-failures none -m 'not full' tests/integration; then
        unsteady+=("$1")
    else
        failed+=("integration: $1")
    fi
}

# A conformance runner is an executable in tests/conformance that exits 0 for passed and 77 for left
# out, with the reason as its last line.
for runner in tests/conformance/run_*; do
    [ -x "$runner" ] || continue
    name=$(basename "$runner")
    log=$(mktemp)
    start=$SECONDS
    "$runner" --slice 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    case $code in
    0) printf '   %s: ok (%d s)\n' "$name" $((SECONDS - start)) ;;
    77) left+=("$name: $(tail -1 "$log")") ;;
    *)
        printf '   %s: FAILED (%d s)\n' "$name" $((SECONDS - start))
        failed+=("$name: $(grep -m 3 'FAILED' "$log" | cut -c1-200)")
        ;;
    esac
    rm -f "$log"
done

if compgen -G 'tests/integration/test_*.py' >/dev/null; then
    if [ -x build/venv/bin/pytest ]; then
        log=$(mktemp)
        # Most tests wait more than they work; those of one file stay together, as they share servers.
        build/venv/bin/pytest -q -rsfE -n $((jobs + 2)) --dist loadfile -m 'not full' tests/integration 2>&1 | tee "$log"
        [ "${PIPESTATUS[0]}" -eq 0 ] || again "$(grep -E '^(FAILED|ERROR) ' "$log" | cut -c1-200)"
        while read -r line; do left+=("$line"); done < <(grep '^SKIPPED' "$log")
        rm -f "$log"
    else
        left+=("integration tests: build/venv has no pytest")
    fi
fi

[ ${#unsteady[@]} -eq 0 ] || printf 'failed once, passed alone: %s\n' "${unsteady[@]}"
if [ ${#left[@]} -gt 0 ]; then
    printf 'left out:\n'
    printf '  %s\n' "${left[@]}"
    [ -z "${REQUIRE_ALL:-}" ] || failed+=("REQUIRE_ALL is set and something was left out")
fi
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
echo "all passed"
