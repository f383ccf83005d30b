#!/usr/bin/env bash
# Formats every C++ file of the repository: bash cmake/format.sh [--check]
# With --check it changes nothing and fails where a file is not formatted. One version for everybody: another one breaks
# lines elsewhere, and Debian 12's does not know concepts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=20.1.8

formatter=build/format/bin/clang-format
if [[ ! -x $formatter ]] || [[ $("$formatter" --version) != *" $version"* ]]; then
  python3 -m venv --clear build/format  # Debian: python3-venv
  build/format/bin/pip install --quiet "clang-format==$version" >&2
fi
action=(-i)
[[ ${1:-} == --check ]] && action=(--dry-run -Werror)
git ls-files -z '*.hpp' '*.cpp' | xargs -0 "$formatter" "${action[@]}"
