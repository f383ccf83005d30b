#!/usr/bin/env bash
# Installs what is missing (on Debian), builds everything and runs all tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash cmake/install_debian_packages.sh tests
cmake --preset release -DHEADGATE_BUILD_TESTS=ON "$@"
cmake --build --preset release
ctest --preset release
