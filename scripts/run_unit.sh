#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One unit test: its log beside it, one line if it passes, all that it said if it does not.
test=$1
if "$test" >"$test.log" 2>&1; then
    printf 'ok    %s: %s\n' "${test#*/tests/}" "$(sed -n 's/.*PASSED *\] *//p' "$test.log")"
else
    printf '%s\nFAIL  %s\n' "$(cat "$test.log")" "$test"
    exit 1
fi
