"""What other libraries define as macros before headgate is included: it compiles, or one #error says what to do.

The standard library and third parties come first, so that only headgate's own text meets the macros.
usage: check_macros.py ROOT COMPILER FLAGS...
"""

import re
import subprocess
import sys

from source_text import INCLUDE, headers, report

UMBRELLA = '#include "headgate/headgate.hpp"\n'
MODELS = '#include "headgate/models/load.hpp"\n'
PATTERN = '#include "headgate/tokenizer/pattern.hpp"\n'  # the one that includes pcre2.h
# Words that are object-like macros of X11 and Windows.
X11 = """Above Absolute AllocAll AllocNone Always AnyButton AnyKey Below Bool Button1 Complex ControlMask Convex
CurrentTime CursorShape EvenOddRule Expose False FillSolid FocusIn FocusOut GenericEvent GrayScale InputOnly LineSolid
LockMask MotionNotify NoSymbol None Nonconvex NotUseful Opposite ParentRelative PointerRoot RaiseLowest ShiftMask StaticColor
Success TileShape TopIf True TrueColor Unsorted WhenMapped XYPixmap ZPixmap""".split()
WINDOWS = """ABSOLUTE CALLBACK CONST DELETE DIFFERENCE DOMAIN ERROR FALSE FAR IGNORE IN INFINITE INTERFACE NEAR NO_ERROR
OPAQUE OPTIONAL OUT OVERFLOW PASCAL RELATIVE STRICT TRANSPARENT TRUE UNDERFLOW VOID far hyper interface near small
CopyFile CreateEvent CreateFile CreateProcess DeleteFile DrawText FindText GetClassName GetCommandLine GetCurrentTime
GetMessage GetObject LoadImage LoadLibrary LoadString MoveFile ReplaceText SendMessage StartDoc Yield""".split()
POSIX = "BSD CTRL MAX MB MIN NBBY PAGE_SIZE howmany linux major makedev minor powerof2 roundup sun unix".split()
QT = "Q_EMIT emit foreach forever signals slots".split()
CHECKS = "ASSERT Assert CHECK Check DCHECK DEBUG FATAL INFO LOG OK TRACE VERIFY WARNING".split()


def first(root):
    """Every header that is not ours, as far as this machine has it. pcre2.h reads a macro of its own."""
    named = {included for _, text in headers(root) for quote, included in INCLUDE.findall(text) if quote == "<"}
    return "".join(
        f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n"
        for name in sorted(named)
        if not re.match(r"Eigen/|windows\.h|pcre2\.h|arm_neon\.h", name)
    )


def main():
    root, *compiler = sys.argv[1:]
    with_others = first(root)
    faults = []

    def errors(text):
        command = [*compiler, "-x", "c++", "-fsyntax-only", "-"]
        result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        found = re.findall(r"(?:^|: )(?:fatal )?error: (.*)", result.stderr)
        return found if found or result.returncode == 0 else [result.stderr]

    macros = "".join(f"#undef {word}\n#define {word} 0L\n" for word in [*X11, *WINDOWS, *POSIX, *QT, *CHECKS])
    compiles = {"X11, Windows, POSIX, Qt": with_others + macros + UMBRELLA + MODELS}
    for width in (0, 8, 16, 32):
        macro = f"#define PCRE2_CODE_UNIT_WIDTH {width}\n"
        compiles[f"PCRE2 of width {width}"] = macro + PATTERN
        compiles[f"PCRE2 of width {width}, included"] = macro + "#include <pcre2.h>\n" + PATTERN
    for what, text in compiles.items():
        found = errors(text)
        if found:
            faults.append(f"{what}: {len(found)} errors, the first: {found[0]}")

    # Each alone, so that each is named.
    refused = {
        "Status": "#define Status int\n",
        "min": "#define min(a, b) (((a) < (b)) ? (a) : (b))\n",
        "max": "#define max(a, b) (((a) > (b)) ? (a) : (b))\n",
    }
    for word, macro in refused.items():
        found = errors(with_others + macro + UMBRELLA)
        if len(found) != 1 or not re.search(rf"#error.*\b{word}\b|\b{word}\b.*macro", found[0]):
            faults.append(f"{word}: {len(found)} errors instead of one #error that names it: {found[:2]}")
    report(faults)


main()
