#!/usr/bin/env python3
"""What including headgate costs: seconds to compile a file that only includes, and the lines the compiler reads.

    python3 benchmarks/compile_time.py [--cxx g++] [--flags "-march=native"] [--repeat 5] [--json]

Each row is the median of the repetitions, compiled to an object without optimisation. The standard library's own share
is the row "empty". Exits with 1 where a budget is exceeded: seconds depend on the machine, so no test calls this.
"""
import argparse
import json
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INCLUDE = Path(__file__).resolve().parent.parent / "include"


def cases():
    """Name, headers, seconds and lines allowed."""
    yield "empty", [], None, None
    yield "one router", ["headgate/routing/topk_softmax.hpp"], 1.0, 78_000
    yield "headgate.hpp", ["headgate/headgate.hpp"], 3.0, 110_000
    yield "models/load.hpp", ["headgate/models/load.hpp"], None, None


def measure(command, source, repeat):
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run([*command, "-O0", "-c", source, "-o", "/dev/null"], check=True)
        seconds.append(time.perf_counter() - start)
    lines = subprocess.run([*command, "-E", "-P", source], check=True, capture_output=True).stdout.count(b"\n")
    return statistics.median(seconds), lines


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default="c++")
    parser.add_argument("--flags", default="")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    command = [arguments.cxx, "-std=c++20", f"-I{INCLUDE}", *shlex.split(arguments.flags)]
    version = subprocess.run([arguments.cxx, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, included, max_seconds, max_lines in cases():
            source = Path(folder) / "include.cpp"
            source.write_text("".join(f'#include "{header}"\n' for header in included))
            seconds, lines = measure(command, str(source), arguments.repeat)
            within = (max_seconds is None or seconds <= max_seconds) and (max_lines is None or lines <= max_lines)
            rows.append({"name": name, "seconds": round(seconds, 3), "lines": lines, "max_seconds": max_seconds,
                         "max_lines": max_lines, "within": within})
    report = {"compiler": version, "flags": arguments.flags, "processor": processor(), "repeat": arguments.repeat, "rows": rows}
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        print(f"{report['compiler']}, {report['processor']}, median of {arguments.repeat}")
        print(f"{'':20}{'seconds':>9}{'allowed':>9}{'lines':>9}{'allowed':>9}")
        for row in rows:
            print(f"{row['name']:20}{row['seconds']:9.3f}{row['max_seconds'] or '':>9}{row['lines']:9}{row['max_lines'] or '':>9}"
                  + ("" if row["within"] else "  exceeded"))
    return 0 if all(row["within"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
