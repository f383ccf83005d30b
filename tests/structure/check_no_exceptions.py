"""core and routing compile without exceptions, and a program that uses them that way links and runs.

usage: check_no_exceptions.py ROOT COMPILER FLAGS...
"""

import pathlib
import subprocess
import sys
import tempfile

from source_text import headers


def main():
    root, *compiler = sys.argv[1:]
    names = [name for name, _ in headers(root) if name.startswith(("core/", "routing/"))]
    text = "".join(f'#include "headgate/{name}"\n' for name in names)
    text += (pathlib.Path(root) / "tests" / "structure" / "no_exceptions.cpp").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        program = str(pathlib.Path(folder) / "program")
        command = [*compiler, "-fno-exceptions", "-pthread", "-x", "c++", "-", "-o", program]
        subprocess.run(command, input=text, text=True, check=True)
        raise SystemExit(subprocess.run([program], check=False).returncode)


main()
