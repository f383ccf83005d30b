#!/usr/bin/env bash
# Installs the Debian packages that are missing: bash cmake/install_debian_packages.sh program|tests|ci|all
set -euo pipefail

mode=${1:-}
packages=(g++ cmake ninja-build libxsimd-dev libfmt-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev libcli11-dev)
tests=(libeigen3-dev catch2 pkg-config python3)
formatting=(git python3-venv)
manual=(groff-base zsh)
cross=(g++-aarch64-linux-gnu qemu-user g++-mingw-w64-x86-64-posix wine64)
fuzzing=(clang libclang-rt-dev)
everything=(libc++-dev libc++abi-dev llvm clang-tidy libbenchmark-dev)
case $mode in
  program) ;;
  tests) packages+=("${tests[@]}") ;;
  ci) packages+=("${tests[@]}" "${formatting[@]}" "${manual[@]}" "${cross[@]}" "${fuzzing[@]}") ;;
  all) packages+=("${tests[@]}" "${formatting[@]}" "${manual[@]}" "${cross[@]}" "${fuzzing[@]}" "${everything[@]}") ;;
  *)
    echo "usage: bash cmake/install_debian_packages.sh program|tests|ci|all" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query apt-get >/dev/null; then
  echo "Not Debian: the packages called ${packages[*]} there are expected to be installed." >&2
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || state=absent
  [[ $state == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

sudo=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "Please install: apt-get install ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
"${sudo[@]}" apt-get update >&2
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" >&2
