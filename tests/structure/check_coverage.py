"""Line coverage of core, routing and layers, all instantiations of a template taken together.

A header that is missing from the report was never instantiated and fails. (llvm-cov does not see a single function
template that nobody instantiates; it sees the rest of the header.)
usage: check_coverage.py ROOT LLVM_PROFDATA LLVM_COV PROGRAM
"""

import os
import pathlib
import subprocess
import sys
import tempfile

FOLDERS = ("core", "routing", "layers")
LEAST = 95.0  # per cent of each folder's lines
# Headers without a line that runs: constants, concepts and structs. One that turns up in the report must leave the list.
NOTHING_TO_RUN = {"routing/stages/select.hpp"}


def executed_lines(cov, program, profile):
    """{file: {line: count}} from llvm-cov's lcov export, which merges instantiations."""
    command = [cov, "export", "-format=lcov", f"-instr-profile={profile}", program]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    files, lines = {}, {}
    for record in report.splitlines():
        if record.startswith("SF:"):
            lines = files.setdefault(record[3:], {})
        elif record.startswith("DA:"):
            line, count = record[3:].split(",")[:2]
            lines[int(line)] = max(lines.get(int(line), 0), int(count))
    return files


def main():
    root, profdata, cov, program = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        raw, profile = os.path.join(folder, "tests.profraw"), os.path.join(folder, "tests.profdata")
        subprocess.run([program], env={**os.environ, "LLVM_PROFILE_FILE": raw}, stdout=subprocess.DEVNULL, check=True)
        subprocess.run([profdata, "merge", "-sparse", raw, "-o", profile], check=True)
        files = executed_lines(cov, program, profile)

    base = pathlib.Path(root) / "include" / "headgate"
    faults = []
    for folder in FOLDERS:
        total = ran = 0
        for path in sorted((base / folder).rglob("*.hpp")):
            name = path.relative_to(base).as_posix()
            lines = files.get(str(path), {})
            if not lines and name not in NOTHING_TO_RUN:
                faults.append(f"{name} is missing from the report")
            if lines and name in NOTHING_TO_RUN:
                faults.append(f"{name} runs lines and must leave the list NOTHING_TO_RUN")
            missed = sorted(line for line, count in lines.items() if count == 0)
            total, ran = total + len(lines), ran + len(lines) - len(missed)
            print(f"{name}: {len(lines) - len(missed)} of {len(lines)} lines" + (f", not {missed}" if missed else ""))
        percent = 100.0 * ran / total if total else 0.0
        print(f"{folder}/: {percent:.1f} %\n")
        if percent < LEAST:
            faults.append(f"{folder}/: {percent:.1f} % of lines, at least {LEAST} are required")
    print("\n".join(faults))
    raise SystemExit(1 if faults else 0)


main()
