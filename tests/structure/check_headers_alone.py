"""Every header of one folder compiles alone, and twice in one file.

usage: check_headers_alone.py ROOT FOLDER COMPILER FLAGS...
"""

import subprocess
import sys

from source_text import headers, report


def main():
    root, folder, *compiler = sys.argv[1:]
    faults = []
    for name, _ in headers(root):
        if name == folder or name.startswith(folder + "/"):
            text = f'#include "headgate/{name}"\n' * 2
            command = [*compiler, "-x", "c++", "-fsyntax-only", "-"]
            result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                faults.append(f"{name} does not compile alone:\n{result.stderr}")
    report(faults)


main()
