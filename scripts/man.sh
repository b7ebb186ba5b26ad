#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# man.sh PROGRAM PAGE: the manual page of a program from its --help, with what docs/man/PROGRAM.h2m adds.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1
page=$2
name=$(basename "$program")
# The third line of --help says what the program does.
purpose=$("$program" --help | sed -n '3{s/^\(.\)/\L\1/; s/\.$//; p}')
help2man --no-info --section=8 --source=Skyvol --manual=Skyvol --name="$purpose" \
    --opt-include="docs/man/$name.h2m" --output="$page.new" "$program"
mv "$page.new" "$page"
