"""The tables of routers and of structures in README.md are what the headers say of themselves. A header says

    // Table of routers: name[, name] | formula in words | Author et al. YEAR, arXiv id
    // Table of structures: ...

on one comment line, or on several of which the next ones are indented by three. With --write the tables are made anew.
usage: check_tables.py ROOT [--write]
"""

import pathlib
import re
import sys

from source_text import headers, report

ENTRY = re.compile(r"^ *// Table of (routers|structures): (.*(?:\n *//   .*)*)", re.MULTILINE)
ARXIV = re.compile(r"\b(\d{4}\.\d{5})\b")
LISTED = re.compile(r'#include "headgate/(routing/[^"]+)"')
NOT_POLICIES = {"routing/any_router.hpp"}
TITLES = {"routers": "policy", "structures": "structure"}


def entries(root, faults):
    """Of each kind, rows of the table by year and paper."""
    rows = {kind: [] for kind in TITLES}
    says = set()
    for name, text in headers(root):
        for kind, entry in ENTRY.findall(text):
            says.add(name)
            fields = [field.strip() for field in re.sub(r"\n *//", "", entry).split("|")]
            year = re.search(r"\b(?:19|20)\d\d\b", fields[-1])
            if len(fields) != 3 or not year or re.search(r",$|\d{4}\.\d{5}(?![;,]|$)", fields[-1]):
                faults.append(f"{name}: '{' '.join(entry.split())}' is not names | words | paper with a year")
                continue
            names = ", ".join(f"`{one.strip()}`" for one in fields[0].split(","))
            paper = ARXIV.sub(r"[\1](https://arxiv.org/abs/\1)", fields[2])
            ids = ARXIV.findall(fields[2])
            order = (year.group(), ids[0] if ids else "", fields[0])
            rows[kind].append((order, f"| {names}: {' '.join(fields[1].split())} | {' '.join(paper.split())} | `{name}` |"))
    return {kind: [row for _, row in sorted(found)] for kind, found in rows.items()}, says


def main():
    root = pathlib.Path(sys.argv[1])
    faults = []
    rows, says = entries(root, faults)
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    made = text
    for kind, title in TITLES.items():
        begin, end = f"<!-- {kind} -->\n", f"<!-- end of {kind} -->"
        if begin not in text or end not in text:
            faults.append(f"README.md has no {begin.strip()}")
            continue
        table = "\n".join([f"| {title} | paper | `#include \"headgate/...\"` |", "| --- | --- | --- |", *rows[kind]])
        before, rest = made.split(begin, 1)
        made = before + begin + table + "\n" + end + rest.split(end, 1)[1]
    policies = root / "include" / "headgate" / "analysis" / "policies.hpp"
    for name in LISTED.findall(policies.read_text(encoding="utf-8")):
        if name not in says | NOT_POLICIES:
            faults.append(f"{name} is in the list of policies and says nothing for the table")
    if made != text:
        if "--write" in sys.argv:
            readme.write_text(made, encoding="utf-8")
        else:
            faults.append("README.md: its tables are not those of the headers; check_tables.py . --write")
    report(faults)


main()
