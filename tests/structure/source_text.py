"""C++ source as the checks read it: headers of a tree, includes, and text without comments and literals."""

import pathlib
import re

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
NOISE = re.compile(
    r'R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"'  # raw string
    r'|//[^\n]*|/\*.*?\*/'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",  # a character; 10'000 is a number
    re.DOTALL,
)


def headers(root):
    """Paths below include/headgate, as in an include: ('core/types.hpp', text)."""
    base = pathlib.Path(root) / "include" / "headgate"
    found = sorted(path for path in base.rglob("*.hpp"))
    if not found:
        raise SystemExit(f"no header below {base}")
    return [(path.relative_to(base).as_posix(), path.read_text(encoding="utf-8")) for path in found]


def without_noise(text):
    """Comments and literals blanked, line numbers kept."""
    return NOISE.sub(lambda match: "\n" * match.group().count("\n") or " ", text)


def report(faults):
    for fault in faults:
        print(fault)
    raise SystemExit(1 if faults else 0)
