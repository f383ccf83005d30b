"""How many small faults do the tests notice? Puts faults of mutants.py into the headers and runs the tests of their folder.

usage: run_mutants.py ROOT BUILD [--count N] [--seed S] [--only REGEX] [--jobs J] [--results FILE] [--quick] [--require]

BUILD is a configured build folder: compiler, flags and libraries are taken from it, nothing in it is built. A header's
faults are compiled together, once a test file, and turned on one at a time (switch.hpp): first in the test file that
mirrors the header, then in the others of the folder (and of robustness) that include it. What is left, if the program never came to it or
it has no switched form, is compiled alone. A fault that does not compile does not count; one listed in equivalent.txt,
with the reason why no test can notice it, neither. --count 0: all faults. --quick: the mirroring test file and switched forms only, a first look at a header.
--require: fails below the promised shares.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time

import mutants as faults

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "structure"))
from check_mirrors import ELSEWHERE  # noqa: E402
from source_text import INCLUDE, headers  # noqa: E402

PROMISED = dict.fromkeys(("core", "routing", "experts", "attention", "layers", "io", "sampling"), 95)
PROMISED_ELSEWHERE = 90
PROJECT_TESTS = ("cli", "compile_fail", "consume", "fuzz", "odr", "structure")  # they test no header's text


class Compiler:
    def __init__(self, root, build, scratch):
        self.root, self.scratch = root, scratch
        commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
        command = next(c["command"] for c in commands if re.search(r"/tests/.*_test\.cpp$", c["file"]))
        flags = shlex.split(command)
        cut = flags.index("-o") if "-o" in flags else len(flags)
        flags = [flag for flag in flags[:cut] if flag not in ("-Werror", "-Winvalid-pch") and not flag.startswith("-W")]
        while os.path.basename(flags[0]) in ("ccache", "nice"):
            flags = flags[1:]
        if "-include" in flags:
            flags = flags[: flags.index("-include")]
        self.flags = [flag for flag in flags if not re.match(r"-O\d", flag)] + ["-w", "-D_GLIBCXX_ASSERTIONS"]
        ninja = (build / "build.ninja").read_text(encoding="utf-8")
        target = ninja[ninja.index(": CXX_EXECUTABLE_LINKER__headgate_tests") :]
        self.libraries = re.search(r"LINK_LIBRARIES = (.*)", target).group(1).split()
        for level in ("-O0", "-O1"):
            (scratch / level).mkdir()
            (scratch / level / "catch.hpp").write_text('#include "support/catch.hpp"\n', encoding="utf-8")
            subprocess.run([*self.flags, level, "-x", "c++-header", str(scratch / level / "catch.hpp"), "-o",
                            str(scratch / level / "catch.hpp.gch")], check=True)

    def compile(self, test, name, text, program):
        """Errors, or '' where program is made of the test with the header `name` replaced by text."""
        overlay = program.with_suffix(".include")
        header = overlay / "headgate" / name
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(text, encoding="utf-8")
        level = "-O1" if test.startswith(("models/", "analysis/")) else "-O0"  # what takes long to run, or to compile
        command = [self.flags[0], f"-I{overlay}", "-include", str(self.scratch / level / "catch.hpp"), "-include",
                   str(self.root / "tests/mutation/switch.hpp"), *self.flags[1:], level,
                   str(self.root / "tests" / test), "-o", str(program), *self.libraries]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        except subprocess.TimeoutExpired:
            return "the compiler takes too long"
        return "" if done.returncode == 0 else done.stderr or "no message"


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(program, number, seconds):
    """(did all tests pass, was the fault reached)."""
    reached = program.with_suffix(".reached")
    reached.unlink(missing_ok=True)
    env = dict(os.environ, HEADGATE_MUTANT=str(number), HEADGATE_REACHED=str(reached))
    process = subprocess.Popen([str(program), "--abort"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               stdin=subprocess.DEVNULL, preexec_fn=limits, start_new_session=True, cwd=program.parent)
    try:
        passed = process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        passed = False
    return passed, reached.exists()


def test_files(root, name, includes):
    """Of those that include the header: the mirroring one, the others of its folder, smallest first, and last robustness."""
    mirror = ELSEWHERE.get(name, "tests/" + name.removesuffix(".hpp") + "_test.cpp").removeprefix("tests/")
    folder = name.split("/")[0]
    some = [test for test in includes if test.startswith((folder + "/", "robustness/")) and name in includes[test]]
    some.sort(key=lambda test: (test != mirror, test.startswith("robustness/"), len(includes[test]), test))
    return some


def include_graph(root):
    """test file -> all headers that it includes, directly or not."""
    texts = {"headgate/" + name: text for name, text in headers(root)}
    for path in (root / "tests").rglob("*.hpp"):
        texts[path.relative_to(root / "tests").as_posix()] = path.read_text(encoding="utf-8")

    def reachable(text, folder, found):
        for _, included in INCLUDE.findall(text):
            for name in (included, f"{folder}/{included}"):
                if name in texts and name not in found:
                    found.add(name)
                    reachable(texts[name], name.rsplit("/", 1)[0], found)
        return found

    graph = {}
    for path in sorted((root / "tests").rglob("*_test.cpp")):
        test = path.relative_to(root / "tests").as_posix()
        if not test.startswith(PROJECT_TESTS):
            found = reachable(path.read_text(encoding="utf-8"), test.rsplit("/", 1)[0], set())
            graph[test] = {name.removeprefix("headgate/") for name in found if name.startswith("headgate/")}
    return graph


def lines_of(mutant, text):
    return range(mutant.line, mutant.line + text.count("\n", mutant.start, mutant.end) + 1)


def groups_that_compile(compiler, test, name, text, group, program):
    """Yields parts of the group with the program that holds them; what has no switched form is in no part."""
    while group:
        errors = compiler.compile(test, name, faults.switched(text, group), program)
        if not errors:
            yield group
            return
        ours = re.escape(f".include/headgate/{name}") + r":(\d+):"
        lines = {int(n) for n in re.findall(ours + r"\d+: error", errors)} or {int(n) for n in re.findall(ours, errors)}
        bad = [m for m in group if lines.intersection(lines_of(m, text))]
        if not bad:
            if len(group) > 1:
                yield from groups_that_compile(compiler, test, name, text, group[: len(group) // 2], program)
                yield from groups_that_compile(compiler, test, name, text, group[len(group) // 2 :], program)
            return
        swaps = [m for m in bad if m.kind == "arguments"]
        bad = swaps or bad
        group = [m for m in group if m not in bad]


class Header:
    """The faults of one header and what became of them: killed by a test file, survived, or no code."""

    def __init__(self, compiler, name, text, some, tests, quick):
        self.compiler, self.name, self.text, self.quick = compiler, name, text, quick
        self.tests = tests[:1] if quick else tests
        self.fate = dict.fromkeys((m.number for m in some), "")
        self.reached = set()
        self.switched = set()
        self.mutants = some

    def alive(self):
        return [m for m in self.mutants if not self.fate[m.number]]

    def measure(self):
        for test in self.tests:
            if self.alive():
                self.run_switched(test)
        for mutant in self.alive():
            if self.quick and mutant.number not in self.switched:
                self.fate[mutant.number] = "no code"
            elif not self.quick and mutant.number not in self.reached:
                self.run_alone(mutant)
        for mutant in self.alive():
            self.fate[mutant.number] = "survived"
        return self

    def program(self, test):
        return pathlib.Path(tempfile.mkdtemp(dir=self.compiler.scratch)) / pathlib.Path(test).stem

    def run_switched(self, test):
        for group in faults.rounds(self.alive()):
            program = self.program(test)
            for part in groups_that_compile(self.compiler, test, self.name, self.text, group, program):
                start = time.monotonic()
                passed, _ = run(program, 0, 600)
                if not passed:
                    print(f"{test} fails without a fault in {self.name}; it is left out", file=sys.stderr)
                    break
                seconds = 5 + 5 * (time.monotonic() - start)
                for mutant in part:
                    self.switched.add(mutant.number)
                    passed, reached = run(program, mutant.number, seconds)
                    if reached:
                        self.reached.add(mutant.number)
                    if not passed:
                        self.fate[mutant.number] = test
            subprocess.run(["rm", "-rf", str(program.parent)], check=True)

    def run_alone(self, mutant):
        for test in self.tests:
            program = self.program(test)
            errors = self.compiler.compile(test, self.name, faults.applied(self.text, mutant), program)
            passed = True
            if not errors:
                passed, _ = run(program, 0, 300)
            subprocess.run(["rm", "-rf", str(program.parent)], check=True)
            if errors:
                self.fate[mutant.number] = "no code"
                return
            if not passed:
                self.fate[mutant.number] = test
                return


def equivalents(root):
    """{(header, line of code, change)}; a line of the file: header | code | change | reason."""
    found = set()
    for line in (root / "tests/mutation/equivalent.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            header, code, change, reason = re.fullmatch(r"(\S+) \| (.*) \| ([^|]+(?:\|\|[^|]+)*) \| ([^|]+)", line).groups()
            assert reason, line
            found.add((header, code, change))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--require", action="store_true")
    args = parser.parse_args()
    root = args.root.resolve()

    graph = include_graph(root)
    equivalent = equivalents(root)
    texts = dict(headers(root))
    pool = [(name, m) for name, text in texts.items() if "/" in name for m in faults.mutants(text)]
    for header, code, change in sorted(equivalent - {(name, *m.key()) for name, m in pool}):
        print(f"equivalent.txt lists what is no fault any more: {header} | {code} | {change}")
    pool = [(name, m) for name, m in pool if re.search(args.only, name) and (name, *m.key()) not in equivalent]
    random.Random(args.seed).shuffle(pool)
    if args.count:
        pool = pool[: args.count + args.count // 3]  # some will not compile

    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        compiler = Compiler(root, args.build, pathlib.Path(scratch))
        by_header = collections.defaultdict(list)
        for name, mutant in pool:
            by_header[name].append(mutant)
        work = []
        for name in by_header:
            some = sorted(by_header[name], key=lambda m: m.number)
            work.append(Header(compiler, name, texts[name], some, test_files(root, name, graph), args.quick))
        done = {}
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as threads:
            for future in concurrent.futures.as_completed([threads.submit(header.measure) for header in work]):
                header = future.result()
                done[header.name] = header
                if args.results:
                    with args.results.open("a", encoding="utf-8") as out:
                        for m in header.mutants:
                            record = dict(header=header.name, line=m.line, kind=m.kind, code=m.code, change=m.change,
                                          fate=header.fate[m.number], reached=m.number in header.reached)
                            print(json.dumps(record), file=out)

    counted = [(name, m) for name, m in pool if done[name].fate[m.number] != "no code"]
    if args.count:
        counted = counted[: args.count]
    killed, total = collections.Counter(), collections.Counter()
    for name, mutant in sorted(counted, key=lambda item: (item[0], item[1].start)):
        folder = name.split("/")[0]
        total[folder] += 1
        if done[name].fate[mutant.number] != "survived":
            killed[folder] += 1
        else:
            print(f"survived: {name}:{mutant.line}: {mutant.change}    in    {mutant.code}")
    short = []
    for promise in (95, PROMISED_ELSEWHERE):
        folders = [folder for folder in sorted(total) if PROMISED.get(folder, PROMISED_ELSEWHERE) == promise]
        for folder in folders:
            print(f"{folder}: {killed[folder]} of {total[folder]}")
        if not folders:
            continue
        of = sum(total[folder] for folder in folders)
        share = 100 * sum(killed[folder] for folder in folders) / of
        print(f"{', '.join(folders)}: {share:.1f} % noticed of {of}, promised {promise} %")
        short += [promise] if share < promise else []
    return 1 if args.require and short else 0


if __name__ == "__main__":
    sys.exit(main())
