"""Every header has a test file: include/headgate/io/json.hpp -> tests/io/json_test.cpp.

usage: check_mirrors.py ROOT
"""

import pathlib
import sys

from source_text import headers, report

# Headers with nothing of their own to run, and who tests them.
ELSEWHERE = {
    "headgate.hpp": "tests/consume/main.cpp",
    "core/config.hpp": "tests/odr/CMakeLists.txt",
    "core/types.hpp": "tests/core/matrix_view_test.cpp",
}


def main():
    root = pathlib.Path(sys.argv[1])
    faults = []
    for name, _ in headers(root):
        test = ELSEWHERE.get(name, "tests/" + name.removesuffix(".hpp") + "_test.cpp")
        if not (root / test).exists():
            faults.append(f"{name} has no {test}")
    report(faults)


main()
