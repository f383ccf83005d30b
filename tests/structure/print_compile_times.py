"""What a build spent its time on: the slowest test files, and all files together. No test file should take above 60 s.

usage: print_compile_times.py BUILD
"""

import pathlib
import sys


def main():
    seconds = {}
    for line in (pathlib.Path(sys.argv[1]) / ".ninja_log").read_text(encoding="utf-8").splitlines()[1:]:
        start, end, _, output, _ = line.split("\t")
        if output.endswith(".o"):
            seconds[output] = (int(end) - int(start)) / 1000  # the last line of a file is its last compilation
    tests = sorted((s, name) for name, s in seconds.items() if name.startswith("tests/"))
    for s, name in reversed(tests[-10:]):
        print(f"{s:6.1f} s  {name.split('.dir/')[-1].removesuffix('.o')}")
    slow = sum(s > 60 for s, _ in tests)
    print(f"{sum(seconds.values()):.0f} s of compiling, {len(tests)} test files, {slow} above 60 s")


main()
