"""Compiles FILE as it is (must succeed) and with -DHEADGATE_COMPILE_FAIL (must fail with the expected message).

usage: check_pair.py FILE COMPILER FLAGS...
"""

import os
import re
import subprocess
import sys


def main():
    file, *compiler = sys.argv[1:]
    with open(file, encoding="utf-8") as source:
        expected = re.search(r"^// expect: (.+)$", source.read(), re.MULTILINE)
    if not expected:
        raise SystemExit(f"{file} has no line '// expect: <regular expression>'")

    def compile_it(*flags):
        command = [*compiler, "-fsyntax-only", *flags, file]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})

    good, bad = compile_it(), compile_it("-DHEADGATE_COMPILE_FAIL")
    if good.returncode != 0:
        raise SystemExit(f"the sound half does not compile:\n{good.stderr}")
    if bad.returncode == 0:
        raise SystemExit("the faulty half compiles")
    if not re.search(expected.group(1), bad.stderr):
        raise SystemExit(f"expected {expected.group(1)!r} in:\n{bad.stderr}")
    print(f"{expected.group(1)!r} found")


main()
