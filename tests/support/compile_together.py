"""Writes a C++ file that is several test files, for one run of the compiler: what they all include is read once.

Each keeps its names to itself, in a namespace of its own. What it includes comes before all of them, outside; inside,
`#pragma once` and include guards leave nothing of it.
usage: compile_together.py OUTPUT FILE...
"""

import pathlib
import re
import sys


def beginning(path):
    """The lines of a file down to its last #include, and to the #endif of that."""
    lines = path.read_text(encoding="utf-8").splitlines()
    includes = [number for number, line in enumerate(lines) if re.match(r"#\s*include\b", line)]
    depth = 0  # of #if
    for number, line in enumerate(lines):
        depth += bool(re.match(r"#\s*if", line)) - bool(re.match(r"#\s*endif", line))
        if not depth and number >= max(includes, default=0):
            return lines[: number + 1]
    return lines


def main():
    output, *files = map(pathlib.Path, sys.argv[1:])
    text = ""
    for path in files:
        lines = beginning(path)
        if any(re.match(r"#\s*define|\w", line) for line in lines):
            raise SystemExit(f"{path}: #define or code before the last #include; name it in tests/CMakeLists.txt")
        text += "\n".join(line.replace('"../', f'"{path.parent.as_posix()}/../') for line in lines) + "\n"
    for number, path in enumerate(files):
        text += f'namespace file_{number} {{\n#include "{path.as_posix()}"\n}}\n'
    output.write_text(text, encoding="utf-8")


main()
