"""Small faults of a C++ header, one at a time or all at once behind a switch (switch.hpp).

Five kinds, found in the text (clang-format's spacing is relied on: `a < b` compares, `f<a>` does not):
    comparison  < and <=, > and >=, == and != exchanged
    constant    true and false, an integer one higher, a real number one higher or (in powers) 16 times as large
    arguments   two neighbours of a call or of braces exchanged
    statement   dropped
    check       the condition of an if is never true
"""

import collections
import dataclasses
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "structure"))
from source_text import NOISE  # noqa: E402

COMPARISONS = {
    "<": ("<=", "Less"),
    "<=": ("<", "LessOrEqual"),
    ">": (">=", "Greater"),
    ">=": (">", "GreaterOrEqual"),
    "==": ("!=", "Equal"),
    "!=": ("==", "NotEqual"),
}
COMPARISON = re.compile(r"(?<= )(<=?|>=?|==|!=)(?= |\n)")
LARGER_OR_SMALLER = re.compile(r"(?<![\w.\])])([\w.()\[\]]+) (?P<op>[<>]) ([\w.()\[\]]+) \? (?:\1 : \3|\3 : \1)(?![\w.(\[])")
NUMBER = re.compile(
    r"(?<![\w.])(true|false|0[xX][0-9a-fA-F']+(?:\.[0-9a-fA-F]*)?(?:[pP][-+]?\d+)?[uUlLfF]*"
    r"|\d[\d']*(?:\.\d*)?(?:[eE][-+]?\d+)?[uUlLfF]*)(?![\w.])"
)
CALL = re.compile(r"([\w>\])]|\breturn |[=(,] )([({])")
NO_CALL = re.compile(
    r"\b(if|for|while|switch|sizeof|requires|static_assert|decltype|noexcept|alignas|catch|constexpr|explicit|operator\W*)$"
)
PARAMETER = re.compile(r"^(const )?[\w:]+(<.*>)?( const)?[&* ]+(const )?[&*]*\w*( = .*)?$")
STATEMENT = re.compile(r"(?:\+\+|--|\*|\()*(?:::)?[A-Za-z_][\w:]*(?:<[\w:, ]*>)?")
NOT_A_STATEMENT = re.compile(
    r"(const|static|constexpr|auto|using|typedef|struct|class|enum|template|return|throw|if|for|while|switch|case|default"
    r"|do|else|goto|public|private|protected|friend|static_assert|namespace|explicit|inline|virtual|extern|requires"
    r"|concept|unsigned|int|float|double|bool|char|operator|try|catch|union|mutable)\b"
)
DECLARATION = re.compile(r"(?:::)?[A-Za-z_][\w:]*(<.*>)?[&* ]*\s[&*]*[A-Za-z_]\w*\s*(=|\(|\{|;|\[|,)", re.DOTALL)


@dataclasses.dataclass
class Mutant:
    kind: str
    line: int  # from 1
    code: str  # the line, trimmed
    change: str
    start: int
    end: int
    plain: str  # what stands in place of text[start:end]
    # What is inserted, or stands in place of a span, for the switched form: (start, end, text with {n})
    edits: list
    number: int = 0

    def key(self):
        return (self.code, self.change)


def blanked(text):
    """Comments, literals and preprocessor lines as spaces: every offset is kept."""

    def spaces(match):
        return re.sub(r"[^\n]", " ", match.group())

    text = NOISE.sub(spaces, text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", spaces, text, flags=re.MULTILINE)


def pairs(text):
    """The place of every bracket's partner."""
    partner, stack = {}, []
    for i, c in enumerate(text):
        if c in "([{":
            stack.append(i)
        elif c in ")]}":
            if not stack:
                continue
            partner[stack.pop()] = i
    return partner


def split(text, start, end, partner, by):
    """[start, end) at the characters `by` outside inner brackets."""
    parts, first, i = [], start, start
    while i < end:
        if i in partner:
            i = partner[i]
        elif text[i] == by:
            parts.append((first, i))
            first = i + 1
        i += 1
    parts.append((first, end))
    return parts


def trimmed(text, start, end):
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))


def other_number(literal):
    if literal in ("true", "false"):
        return "false" if literal == "true" else "true"
    body = literal.rstrip("uUlL" if literal[:2].lower() == "0x" and "p" not in literal.lower() else "uUlLfF")
    suffix = literal[len(body) :]
    if re.search(r"[pP]|(?<!0x)(?<![0-9a-fA-F])[eE]|\d[eE][-+]?\d", body) and not (
        body[:2].lower() == "0x" and "p" not in body.lower()
    ):
        return f"(16 * {literal})"
    if "." in body:
        return f"({literal} + 1)"
    return f"{int(body.replace(chr(39), ''), 0 if body[:2].lower() == '0x' else 10) + 1}{suffix}"


def mutants(text):
    code = blanked(text)
    partner = pairs(code)
    lines = text.split("\n")
    found = []

    def add(kind, change, start, end, plain, edits):
        line = text.count("\n", 0, start)
        found.append(Mutant(kind, line + 1, lines[line].strip(), change, start, end, plain, edits))

    either = {match.start("op") for match in LARGER_OR_SMALLER.finditer(code)}  # where both are equal, either will do
    for match in COMPARISON.finditer(code):
        if match.start() in either:
            continue
        op, (other, name) = match.group(), COMPARISONS[match.group()]
        if "template <" in code[max(0, match.start() - 12) : match.end()] or "operator" in code[match.start() - 10 : match.start()]:
            continue
        switched = f"{op} ::mutation::{name}<{{n}}>() {op}"
        add("comparison", f"{op} -> {other}", match.start(), match.end(), other, [(match.start(), match.end(), switched)])

    for match in NUMBER.finditer(code):
        literal = match.group()
        before = code[: match.start()].rstrip()
        if re.match(r"\s*;", code[match.end() :]) and re.search(r"(\)|const|noexcept|override)\s*=$", before):
            continue  # a pure virtual function
        if before.endswith(("]]", "case")) or re.search(r"alignas\($", before):
            continue
        if code[match.end() :].startswith("]") and re.search(r"^ *(?:static |const(?:expr)? )*[\w:]+ \w+\[$", before[-60:], re.MULTILINE):
            continue  # an array that is larger than it need be
        other = other_number(literal)
        switched = f"::mutation::constant<{{n}}>({literal}, {other})"
        add("constant", f"{literal} -> {other}", match.start(), match.end(), other, [(match.start(), match.end(), switched)])

    for match in CALL.finditer(code):
        bracket = match.start(2)
        if bracket not in partner or NO_CALL.search(code[:bracket].rstrip()[-20:]):
            continue
        arguments = [trimmed(code, *part) for part in split(code, bracket + 1, partner[bracket], partner, ",")]
        texts = [text[start:end] for start, end in arguments]
        if len(texts) < 2 or any(not t or ";" in t or t.startswith((".", "[", "{")) or "//" in t for t in texts):
            continue
        if any(t.count("<") - t.count(" < ") - t.count(" <= ") != t.count(">") - t.count(" > ") - t.count(" >= ") - t.count("->") for t in texts):
            continue
        if all(PARAMETER.match(t) and " " in t for t in texts):
            continue  # a declaration
        if re.search(r"\b(f?min|f?max|swap|exactly_equal)(<[\w:]+>)?$", code[:bracket]):
            continue  # of which the order is no matter
        for (a, b), (c, d) in zip(arguments, arguments[1:]):
            x, y = text[a:b], text[c:d]
            if x == y:
                continue
            flat_x, flat_y = " ".join(x.split()), " ".join(y.split())
            switched = f"(::mutation::on({{n}}) ? ({flat_y}) : ({flat_x})){text[b:c]}(::mutation::on({{n}}) ? ({flat_x}) : ({flat_y}))"
            switched += "\n" * (x + y).count("\n")
            add("arguments", f"{flat_x}, {flat_y} exchanged", a, d, y + text[b:c] + x, [(a, d, switched)])

    depth = {}  # of round brackets at every place, within the innermost braces
    stack = [0]
    for i, c in enumerate(code):
        depth[i] = stack[-1]
        if c == "{":
            stack.append(0)
        elif c == "}" and len(stack) > 1:
            stack.pop()
        elif c in "([":
            stack[-1] += 1
        elif c in ")]":
            stack[-1] -= 1
    for match in re.finditer(r"(?:[;{})]|\belse|:)\s+(?=[A-Za-z_+*(:-])", code):
        start = match.end()
        if depth[start] != 0 or NOT_A_STATEMENT.match(code, start):
            continue
        end = split(code, start, len(code), partner, ";")[0][1]
        body = code[start:end]
        if body in ("break", "continue"):
            add("statement", f"{body} dropped", start, end + 1, ";", [(start, start, "if (!::mutation::on({n})) ")])
            continue
        if not STATEMENT.match(body) or DECLARATION.match(code, start) or "}" in body and "(" not in body.split("{")[0]:
            continue
        if not re.search(r"[=(]|\+\+|--", body) or re.match(r"[\w:]+\([^;]*\)\s*(const|noexcept|:|\{)", body):
            continue
        if re.search(r"(\.|->)reserve\(|^static_cast<void>", body):
            continue  # of no effect that a test could see
        short = " ".join(text[start:end].split())
        add("statement", f"{short[:70]} dropped", start, end + 1, ";" + "\n" * body.count("\n"),
            [(start, start, "(::mutation::on({n}) ? void() : void("), (end, end, "))")])

    for match in re.finditer(r"\bif \(", code):
        bracket = match.end() - 1
        if bracket not in partner:
            continue
        start, end = trimmed(code, *split(code, bracket + 1, partner[bracket], partner, ";")[-1])
        if re.search(r"(?<![=!<>]) = ", code[start:end]):
            continue
        short = " ".join(text[start:end].split())
        add("check", f"if ({short[:70]}) never", start, end, "false && (" + text[start:end] + ")",
            [(start, start, "!::mutation::on({n}) && ("), (end, end, ")")])

    found.sort(key=lambda mutant: (mutant.start, mutant.end))
    seen = collections.Counter()
    for number, mutant in enumerate(found, 1):
        mutant.number = number
        seen[mutant.line, mutant.change] += 1
        if seen[mutant.line, mutant.change] > 1:  # in one line
            mutant.change += f" #{seen[mutant.line, mutant.change]}"
    return found


def applied(text, mutant):
    return text[: mutant.start] + mutant.plain + text[mutant.end :]


def rounds(some):
    """Groups in which no span that is replaced holds another's edit."""
    groups = []
    for mutant in some:
        for group in groups:
            if all(compatible(mutant, other) for other in group):
                group.append(mutant)
                break
        else:
            groups.append([mutant])
    return groups


def compatible(a, b):
    for start, end, _ in a.edits:
        for other_start, other_end, _ in b.edits:
            if start < end and start < other_end and other_start < end and other_start < other_end:
                return False  # two spans overlap
            if start < end and other_start == other_end and start < other_start < end:
                return False
            if other_start < other_end and start == end and other_start < start < other_end:
                return False
    return True


def switched(text, some):
    edits = []
    for mutant in some:
        last = len(mutant.edits) - 1
        for i, (start, end, new) in enumerate(mutant.edits):
            # At one place: what closes comes before what is put in place, what opens before that; inner closes first.
            closes = start == end and i == last and last > 0
            order = (start, 0, -mutant.start) if closes else (start, 1 if start == end else 2, -mutant.end)
            edits.append((order, start, end, new.replace("{n}", str(mutant.number))))
    edits.sort(key=lambda edit: edit[0])
    out, place = [], 0
    for _, start, end, new in edits:
        out += [text[place:start], new]
        place = end
    return "".join(out) + text[place:]
