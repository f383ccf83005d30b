"""The documents keep their word: C++ programs in README files compile as pasted, and relative links lead somewhere.

A block of C++ without a main is a fragment and is left to the reader.
usage: check_documents.py ROOT COMPILER FLAGS...
"""

import pathlib
import re
import subprocess
import sys

from source_text import report

PLACES = ("*.md", "include/headgate/**/*.md", "tests/**/*.md", "benchmarks/**/*.md", "examples/**/*.md")


def main():
    root, *compiler = sys.argv[1:]
    root = pathlib.Path(root)
    documents = sorted(path for place in PLACES for path in root.glob(place))
    faults, programs = [], 0
    for document in documents:
        name = document.relative_to(root).as_posix()
        text = document.read_text(encoding="utf-8")
        for block in re.findall(r"^```(?:cpp|c\+\+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            if "int main(" in block:
                programs += 1
                command = [*compiler, "-x", "c++", "-fsyntax-only", "-"]
                result = subprocess.run(command, input=block, capture_output=True, text=True, check=False)
                if result.returncode != 0:
                    faults.append(f"{name}: this does not compile:\n{block}\n{result.stderr}")
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
            if "://" not in link and not (document.parent / link).exists():
                faults.append(f"{name}: link to {link} leads nowhere")
    if not (root / "README.md").exists() or programs == 0:
        faults.append("README.md shows no program")
    report(faults)


main()
