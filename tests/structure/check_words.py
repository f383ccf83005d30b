"""What a library that is embedded in other people's programs never does.

usage: check_words.py ROOT
"""

import re
import sys

from source_text import headers, report, without_noise

CALL = r"(?<![\w.>])(?:std\s*::\s*|::\s*)?({})\s*\("
FORBIDDEN = [
    ("ends the process", CALL.format("abort|exit|_exit|_Exit|quick_exit|terminate|assert")),
    ("prints", CALL.format("printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror")),
    ("prints", r"\bstd\s*::\s*(cout|cerr|clog)\b|\bfmt\s*::\s*print(ln)?\b|#\s*include\s*<iostream>"),
    ("depends on the locale", r"\b(setlocale|imbue)\b|\bstd\s*::\s*locale\b"),
    ("parses numbers with the locale", r"\b(strto(f|d|ld|l|ll|ul|ull)|sto(i|l|ll|ul|ull|f|d|ld)|ato(i|l|ll|f)|s?scanf)\b"),
    ("reads the environment", r"\b(secure_)?getenv\b"),
    ("handles signals", CALL.format("signal|sigaction|raise")),
    ("is slow and recurses without bound", r"\bstd\s*::\s*(w?regex|basic_regex)\b|#\s*include\s*<regex>"),
    ("blocks in the kernel on every step", r"\bstd\s*::\s*barrier\b|#\s*include\s*<barrier>"),
    ("is hidden state", r"\b(s?rand|srandom|random)\s*\(\s*\)|\bstd\s*::\s*random_device\b"),
    ("has a twin in the standard library", r"\b(__atomic_|__sync_|pthread_|__builtin_(?:mem|str|trap|unreachable|expect))\w*"),
    ("compiles for whom it should not", r"#\s*pragma\s+(GCC|clang)\s+(optimize|diagnostic\s+ignored)"),
]
ALLOWED = {  # header: words, with the reason beside it
    "routing/balancing/bias_balancer.hpp": {"__atomic_fetch_add"},  # libc++ before 19 has no atomic_ref
    "io/non_finite.hpp": {"strtod"},  # of a number without a point, all that a locale changes; libc++ 14 lacks from_chars
    "core/config.hpp": {"std::terminate"},  # without exceptions, what an exception that nobody catches does
}


def main():
    faults = []
    for name, text in headers(sys.argv[1]):
        code = without_noise(text)
        for why, pattern in FORBIDDEN:
            for match in re.finditer(pattern, code):
                word = match.group().strip(" (")
                if word not in ALLOWED.get(name, ()):
                    faults.append(f"{name}:{code.count(chr(10), 0, match.start()) + 1}: {word} {why}")
    report(faults)


main()
