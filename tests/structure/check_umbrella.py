"""headgate.hpp brings every header of core, routing, experts and layers.

usage: check_umbrella.py ROOT COMPILER FLAGS...
"""

import subprocess
import sys

from source_text import headers, report

FOLDERS = ("core/", "routing/", "experts/", "layers/")


def main():
    root, *compiler = sys.argv[1:]
    command = [*compiler, "-x", "c++", "-M", "-"]
    text = '#include "headgate/headgate.hpp"\n'
    brought = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.split()
    faults = [
        f"headgate.hpp does not bring {name}"
        for name, _ in headers(root)
        if name.startswith(FOLDERS) and not any(path.endswith("include/headgate/" + name) for path in brought)
    ]
    report(faults)


main()
