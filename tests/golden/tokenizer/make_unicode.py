#!/usr/bin/env python3
"""Writes the tables that make patterns, Lowercase, Digits, Punctuation and the normalization forms mean what they mean to
Hugging Face's `tokenizers`, whatever Unicode version the installed PCRE2 and utf8proc have:

  include/headgate/tokenizer/unicode_tables.hpp   what differs between Unicode 14 (PCRE2 10.40) and the reference
  tests/golden/tokenizer/unicode.json             what the reference says of every code point, in ranges

Needs: pip install tokenizers, a Python whose unicodedata is Unicode 14 (3.11), clang-format. Takes a few minutes. The reference is
asked about every code point: Oniguruma's classes through Split, the others through their own components.
"""
import json
import pathlib
import subprocess
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

HERE = pathlib.Path(__file__).resolve().parent
HEADER = HERE.parents[2] / "include/headgate/tokenizer/unicode_tables.hpp"
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn".split()
# Of the characters that are newer than Unicode 14.
SCRIPTS = """Ahom Arabic Balinese Common Cyrillic Devanagari Egyptian_Hieroglyphs Garay Gurung_Khema Han Hiragana Kannada Katakana Kawi
 Khitan_Small_Script Khojki Kirat_Rai Lao Latin Myanmar Nag_Mundari Ol_Onal Sunuwar Todhri Tulu_Tigalari""".split()
FLAGS = {"Alphabetic": 1, "Uppercase": 2, "Lowercase": 4}
# Characters of Unicode 14 of which a later version (to 17) says something else.
CHANGED = [0x295, *range(0x363, 0x370), 0xC04, 0x10FC, 0xF82, 0xF83, 0x1171E, *range(0x1DD3, 0x1DE7), 0xA7F2, 0xA7F3, 0xA7F4, 0xAB69, 0x11080, 0x11081]
EVERY = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CLASSES = [r"\w", r"[\w]", r"\W", r"[\W]", r"[^\w]", r"\d", r"[^\d]", r"\D", r"\s", r"[^\s]", r"\h", r"[\H]", r"\v", ".", r"(?m:.)", r"\R",
           r"\p{L}", r"\p{^L}", r"[\P{L}]", r"[^\r\n\p{L}\p{N}]", r"[^\s\p{L}\p{N}]", r"[\p{L}\p{M}]", r"[\p{P}\p{S}]", r"[^\r\n\p{L}\p{P}\p{S}]",
           r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\x{1000}-\x{1FFFF}&&\p{^L}]", r"[\x{0}-\x{20000}&&[^\p{Lo}]]",
           *(rf"\p{{{name}}}" for name in ["M", "N", "P", "S", "Z", "C", *CATEGORIES, *FLAGS, *SCRIPTS, "White_Space", "Any", "Greek", "Hangul", "Thai"]),
           *(f"[[:{name}:]]" for name in "alpha alnum digit upper lower space blank cntrl punct xdigit ascii word".split()),
           "[[:^alpha:]]", "(?i:[a-z])", "(?i:[^a-z])", "(?i:k)", "(?i:s)", r"(?i:[\p{L}])", r"(?i:\p{Lu})"]


def members(pattern, text):
    """The characters that a pattern of one character finds."""
    found = pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(text)
    return {ord(c) for piece, _ in found for c in piece}


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] + 1 == c:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def rows(points, key):
    """Runs of code points with one key: (first, last, key)."""
    out = []
    for c in sorted(points):
        if out and out[-1][1] + 1 == c and out[-1][2] == key(c):
            out[-1][1] = c
        else:
            out.append([c, c, key(c)])
    return out


def changes():
    """Rows of the code points whose properties Unicode 14 and 16 tell apart, and of those that are unassigned in 16."""
    assert unicodedata.unidata_version == "14.0.0"
    everything = "".join(map(chr, EVERY))
    category = {c: name for name in CATEGORIES for c in members(rf"\p{{{name}}}", everything)}
    unassigned = {c for c in category if category[c] == "Cn"}
    new = {c for c in category if category[c] != unicodedata.category(chr(c))} | set(CHANGED)
    text = "".join(map(chr, sorted(new)))
    script = {c: name for name in [*SCRIPTS, "Georgian", "Inherited", "Kaithi", "Telugu", "Tibetan"] for c in members(rf"\p{{{name}}}", text)}
    flags = {c: 8 if c in CHANGED else 0 for c in new}
    for name, bit in FLAGS.items():
        for c in members(rf"\p{{{name}}}", text):
            flags[c] |= bit
    return rows(new, lambda c: (category[c], script[c], flags[c])), ranges(unassigned)


def lower_case():
    """(first, last, what to add): where the lower case is newer than Unicode 14's."""
    lower = normalizers.Lowercase()
    points = [c for c in EVERY if len(lower.normalize_str(chr(c))) == 1 and lower.normalize_str(chr(c)) != chr(c).lower()]
    return rows(points, lambda c: ord(lower.normalize_str(chr(c))) - c)


def written(c):
    """A character among marks of many classes, so that its own class shows."""
    marks = "\u0334\u093c\u094d\u05b0\u0591\u0315\u0300\u0323\u0345\u1dce\u302a\u0f71\u0328\u031b\u035c\u0360"
    return "a" + marks + chr(c) + marks


FORMS = {name: getattr(normalizers, name)() for name in ("NFC", "NFD", "NFKC", "NFKD")}


def inert():
    """What the reference's normalization forms, which are older than Unicode 14, leave alone."""
    points = [c for c in EVERY if unicodedata.category(chr(c)) != "Cn" and
              any(unicodedata.normalize(name, written(c)) != FORMS[name].normalize_str(written(c)) for name in ("NFD", "NFKD"))]
    assert all(form.normalize_str(chr(c)) == chr(c) for form in FORMS.values() for c in points)
    return ranges(points)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def component(pre, keeps):
    """The code points of which keeps(pieces of "a" and it) holds."""
    return {c for c in EVERY if keeps([piece for piece, _ in pre.pre_tokenize_str("a" + chr(c))])}


def write_header(punctuation, numbers):
    rows, unassigned = changes()
    lines = []

    def table(type_name, name, comment, values):
        lines.append(f"// {comment}")
        lines.append(f"inline constexpr {type_name} {name}[] = {{" + ", ".join(values) + "};\n")

    def pair(r):
        return f"{{{r[0]:#x}, {r[1]:#x}}}"

    table("UnicodeChange", "unicode_changes", "Code points of which Unicode 14 and the reference's Unicode 16 tell different things.",
          [f'{{{a:#x}, {b:#x}, "{k[0]}", "{k[1]}", {k[2]}}}' for a, b, k in rows])
    table("UnicodeRange", "unassigned_characters", "Not assigned in Unicode 16.", map(pair, unassigned))
    table("LowerCaseChange", "lower_case_changes", "The lower case of characters that are newer than Unicode 14, as the reference's Unicode 17 has it.",
          [f"{{{a:#x}, {b:#x}, {d}}}" for a, b, d in lower_case()])
    every_number = members(r"\p{N}", "".join(map(chr, EVERY)))
    assert every_number <= numbers
    table("UnicodeRange", "newer_numbers", "Numbers of Unicode 17, which the reference's Digits knows.", map(pair, ranges(numbers - every_number)))
    every = members(r"[!-/:-@\[-`{-~\p{P}]", "".join(map(chr, EVERY)))
    table("UnicodeRange", "older_punctuation", "Punctuation to the reference's Punctuation, which is older than Unicode 16, and no longer.",
          map(pair, ranges(punctuation - every)))
    table("UnicodeRange", "newer_punctuation", "Punctuation of Unicode 16 that it does not know.", map(pair, ranges(every - punctuation)))
    table("UnicodeRange", "inert_characters",
          "What the normalization forms leave alone of Unicode 14: the reference's are those of Unicode 9.", map(pair, inert()))
    HEADER.write_text(f"""// Made by tests/golden/tokenizer/make_unicode.py with tokenizers {tokenizers.__version__}. Where the Unicode data of the reference differ from
// those of PCRE2 10.40 and utf8proc (Unicode 14 and later), so that ids do not depend on the version that is installed.
#pragma once

#include <cstdint>

#include "headgate/core/config.hpp"

namespace headgate::inline HEADGATE_ABI {{

struct UnicodeRange {{
  char32_t first, last;
}};

struct UnicodeChange {{
  char32_t first, last;
  const char* category;
  const char* script;
  std::uint8_t flags;  // 1 Alphabetic, 2 Uppercase, 4 Lowercase, 8 in Unicode 14 already
}};

struct LowerCaseChange {{
  char32_t first, last;
  std::int32_t add;
}};

""" + "\n".join(lines) + """
}  // namespace headgate::inline HEADGATE_ABI
""", encoding="utf8")
    subprocess.run(["clang-format", "-i", str(HEADER)], check=True)


def main():
    word = component(pre_tokenizers.Whitespace(), lambda pieces: len(pieces) == 1 and len(pieces[0]) == 2)
    punctuation = component(pre_tokenizers.Punctuation(), lambda pieces: len(pieces) == 2)
    numbers = component(pre_tokenizers.Digits(individual_digits=True), lambda pieces: len(pieces) == 2)
    space = component(pre_tokenizers.WhitespaceSplit(), lambda pieces: pieces == ["a"])
    write_header(punctuation, numbers)

    everything = "".join(map(chr, EVERY))

    def gaps(points):
        """The bounds of the ranges, each less the one before."""
        bounds = [0] + [n for first, last in ranges(points) for n in (first, last + 1)]
        return [b - a for a, b in zip(bounds, bounds[1:])]

    lower = normalizers.Lowercase()
    mapped = rows([c for c in EVERY if c != 0x130 and lower.normalize_str(chr(c)) != chr(c)], lambda c: ord(lower.normalize_str(chr(c))) - c)
    planes = [range(plane << 16, (plane + 1) << 16) for plane in (0, 1, 2, 3, 14)]
    forms = {name: [fnv1a("".join(form.normalize_str(written(c)) for c in plane if not 0xD800 <= c < 0xE000).encode()) for plane in planes]
             for name, form in FORMS.items()}
    vectors = {"made_with": f"tokenizers {tokenizers.__version__}",
               "classes": [{"pattern": p, "gaps": gaps(members(p, everything))} for p in CLASSES],
               "whitespace_words": gaps(word), "punctuation": gaps(punctuation), "digits": gaps(numbers), "spaces": gaps(space),
               "lower_case": [n for row in mapped for n in row], "planes": [0, 1, 2, 3, 14], "forms": forms}
    (HERE / "unicode.json").write_text(json.dumps(vectors, separators=(",", ":")) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
