"""Compile time is a feature: a budget of preprocessed lines for one router and for all of them, the umbrella header.

usage: check_preprocessed_lines.py ROOT COMPILER FLAGS...
"""

import subprocess
import sys


def lines(compiler, names):
    text = "".join(f'#include "headgate/{name}"\n' for name in names)
    command = [*compiler, "-x", "c++", "-E", "-P", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.count("\n")


def main():
    root, *compiler = sys.argv[1:]
    budgets = {"routing/topk_softmax.hpp": 78_000, "headgate.hpp": 110_000}
    over = False
    for name, budget in budgets.items():
        count = lines(compiler, [name])
        print(f"{name}: {count} preprocessed lines of {budget}")
        over = over or count > budget
    raise SystemExit(1 if over else 0)


main()
