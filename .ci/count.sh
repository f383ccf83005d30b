# Sourced by run and full: each runs its steps to the end, counts ctest cases and says so in one line.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export CXXFLAGS=-Werror  # here, not in the presets: a newer compiler's new warning is no reason to refuse a user
passed=0
failed=0
log=$(mktemp)

# step COMMAND...: one case.
step() {
  echo "== $*"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $*"; fi
}
# cases COMMAND...: as many cases as ctest says; one failed case if it never came to that.
cases() {
  echo "== $*"
  "$@" 2>&1 | tee "$log"
  local status=${PIPESTATUS[0]} counts
  counts=$(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$log" | tail -1)
  if [[ -z $counts || (${counts% *} -eq 0 && $status -ne 0) ]]; then
    failed=$((failed + 1))
    echo "FAILED: $*"
  else
    failed=$((failed + ${counts% *}))
    passed=$((passed + ${counts#* } - ${counts% *}))
  fi
}
# some_files PRESET FILES: the tests of some files only.
some_files() {
  local build=build/ci-$1 again=()
  [[ $1 == mingw ]] && again=(--repeat until-pass:3)  # wine's server ends between two tests and resets the next one
  cmake --preset "$1" -B "$build" -DHEADGATE_TEST_FILES="$2" -DHEADGATE_FILES_TOGETHER=8 -DHEADGATE_BUILD_EXAMPLES=OFF &&
    cmake --build "$build" && ctest --test-dir "$build" --output-on-failure --no-tests=error -j 2 "${again[@]}"
}
finish() {
  rm -f "$log"
  echo "$passed passed, $failed failed"
  [[ $failed -eq 0 && $passed -gt 0 ]]
  exit
}
