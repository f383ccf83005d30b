"""Compile time is a feature: a budget of preprocessed lines for core and routing together and for the umbrella header.

usage: check_preprocessed_lines.py ROOT COMPILER FLAGS...
"""

import subprocess
import sys

from source_text import headers


def lines(compiler, names):
    text = "".join(f'#include "headgate/{name}"\n' for name in names)
    command = [*compiler, "-x", "c++", "-E", "-P", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.count("\n")


def main():
    root, *compiler = sys.argv[1:]
    names = [name for name, _ in headers(root)]
    budgets = {
        "core and routing": (82_000, [name for name in names if name.startswith(("core/", "routing/"))]),
        "headgate.hpp": (170_000, ["headgate.hpp"]),
    }
    over = False
    for what, (budget, included) in budgets.items():
        count = lines(compiler, included)
        print(f"{what}: {count} preprocessed lines of {budget}")
        over = over or count > budget
    raise SystemExit(1 if over else 0)


main()
