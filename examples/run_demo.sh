#!/usr/bin/env bash
# From a fresh clone to a story: installs what is missing (on Debian), builds the program, lets the demo model write.
# usage: bash examples/run_demo.sh [BEGINNING]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
beginning=${1:-Once upon a time}

bash cmake/install_debian_packages.sh program
# The folder is shared with tests/run_tests.sh, which then compiles the program no second time.
[[ -f build/release/build.ninja ]] || cmake --preset release -DHEADGATE_BUILD_TESTS=OFF >&2
cmake --build build/release --target headgate >&2

# The story first and in one piece; what the run took follows it. Both streams may be the same terminal.
notes=$(mktemp)
trap 'rm -f "$notes"' EXIT
code=0
printf '\n%s' "$beginning"
build/release/examples/headgate generate -p "$beginning" -n 200 2>"$notes" || code=$?
[[ -t 1 ]] || printf '\n' # on a terminal, the program has begun a new line
printf '\n'
grep . "$notes" >&2 || true
exit "$code"
