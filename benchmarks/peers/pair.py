#!/usr/bin/env python3
"""Pairs `headgate bench` with the peers that are installed: A B B A, round after round, in one run.

  pair.py -m granite.gguf [-p 512 -n 128 -d 0 -t 2 --rounds 5] [--headgate PROGRAM] [--llama-bench PATH]

What disturbs a machine disturbs both of a pair. Printed are the medians of tokens per second, and of the rounds'
quotients (ours over the peer's) the median, the range and a bootstrap interval of the median (95 %). A peer that is not
there is named and passed over. Standard library alone; nothing of a peer is kept here. Exits with 1 without any pair.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import abba

ROOT = pathlib.Path(__file__).resolve().parents[2]


def rows_of(command):
    """A list of JSON rows that a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


class Headgate:
    name = "headgate"

    def __init__(self, options):
        self.options = options
        self.program = options.headgate or shutil.which("headgate") or ROOT / "build/release/examples/headgate"
        self.shares = {}  # of the limit

    def run(self):
        o = self.options
        command = [self.program, "bench", "-m", o.model, "-p", o.p, "-n", o.n, "-d", o.d, "-t", str(o.t), "-r", "1"]
        rates = {}
        for row in rows_of([*command, *o.ours, "-o", "json"]):
            rates[row["test"]] = row["avg_ts"]
            self.shares.setdefault(row["test"], []).append(row["share_of_limit"])
        return rates


class LlamaBench:
    """llama-bench of llama.cpp and what is made of it."""

    name = "llama-bench"

    def __init__(self, options):
        self.options = options
        self.program = options.llama_bench or shutil.which("llama-bench")

    def absent(self):
        if self.program is None:
            return "none on the path (or --llama-bench PATH)"
        return None if os.access(self.program, os.X_OK) else f"{self.program} is no program"

    def run(self):
        o = self.options
        command = [self.program, "-m", o.model, "-p", o.p, "-n", o.n, "-d", o.d, "-t", str(o.t), "-r", "1"]
        rates = {}
        for row in rows_of([*command, *o.theirs, "-o", "json"]):
            test = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
            depth = row.get("n_depth", 0)
            rates[test + (f" @ d{depth}" if depth else "")] = row["avg_ts"]
        return rates


PEERS = [LlamaBench]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True, help="a GGUF file")
    parser.add_argument("-p", default="512", help="prompts, with commas")
    parser.add_argument("-n", default="128", help="continuations")
    parser.add_argument("-d", default="0", help="depths")
    parser.add_argument("-t", type=int, default=len(os.sched_getaffinity(0)), help="threads")
    parser.add_argument("--rounds", type=int, default=5, help="of A B B A")
    parser.add_argument("--headgate", metavar="PROGRAM", help="in place of the one on the path or in build/release")
    parser.add_argument("--llama-bench", metavar="PATH")
    parser.add_argument("--ours", type=shlex.split, default=[], metavar="FLAGS", help="more of ours, in one word")
    parser.add_argument("--theirs", type=shlex.split, default=[], metavar="FLAGS", help="more of the peer")
    options = parser.parse_args()
    ours = Headgate(options)
    is_paired = False
    for make in PEERS:
        peer = make(options)
        if reason := peer.absent():
            print(f"skipped {peer.name}: {reason}")
            continue
        load = os.getloadavg()[0]
        rates = abba.pair(ours.run, peer.run, options.rounds)
        is_paired = is_paired or bool(rates)
        loads = f"load {load:.1f} to {os.getloadavg()[0]:.1f}"
        title = f"{options.model}, {options.t} threads, {options.rounds} rounds, {loads}"
        abba.print_table(title, (ours.name, peer.name), "t/s", rates, ours.shares)
    sys.exit(0 if is_paired else 1)


if __name__ == "__main__":
    main()
