"""Writes a file for ctest with one test per TEST_CASE of a Catch2 program, of version 2 or 3.

Catch2's own script takes the names through a CMake list, where a `;` or a lone `[` in a sentence joins or splits tests.
usage: discover_tests.py CATCH_MAJOR_VERSION FILE [EMULATOR...] PROGRAM
"""

import re
import subprocess
import sys


def quoted(text):
    return f"[==[{text}]==]"


def main():
    version, file, *program = sys.argv[1:]
    # Version 2 returns the number of tests, and calls a run of no test a success unless told otherwise.
    flags = ["--list-test-names-only"] if version == "2" else ["--list-tests", "--verbosity", "quiet"]
    listing = subprocess.run([*program, *flags], capture_output=True, text=True, check=False)
    names = [line for line in listing.stdout.splitlines() if line]
    # What wine says of its own folder when it makes it.
    complaints = re.sub(r"^wine: (?!Unhandled).*\n", "", listing.stderr, flags=re.MULTILINE)
    if not names or complaints.strip():
        raise SystemExit(f"{program[-1]} lists no tests: {listing.stderr}")
    if len(set(names)) != len(names):
        raise SystemExit(f"{program[-1]} has two tests of one name: {sorted({n for n in names if names.count(n) > 1})}")
    with open(file, "w", encoding="utf-8") as out:
        for name in names:
            spec = re.sub(r'([\\,\[\]"*~])', r"\\\1", name) if version == "2" else re.sub(r'([\\,\["*~])', r"\\\1", name)
            warn = "--warn NoTests" if version == "2" else ""
            print(f"add_test({quoted(name)} {' '.join(quoted(word) for word in program)} {quoted(spec)} {warn})", file=out)
            print(f"set_tests_properties({quoted(name)} PROPERTIES TIMEOUT 300)", file=out)


main()
