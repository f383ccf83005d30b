#!/usr/bin/env python3
"""Pairs bench_layer with what runs a layer of experts in Python: A B B A, round after round, in one run.

  pair_layer.py --shape granite-1b --format bf16_dots --tokens 1 [--rounds 5] [-t 2] [--bench-layer PROGRAM]

Routing is even, weights are cold on both sides. bench_layer stays, and measures when it is asked. Printed are the
medians of milliseconds and, of the rounds' quotients (the peer's over ours: how many times as fast we are), the median,
the range and a bootstrap interval of the median (95 %). Peers (layer_peers.py) that are not there, or lack the format,
are named and passed over; zentorch's int8, with a scale for a row, is set against q8_0. Exits with 1 without any pair.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import abba
import layer_peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHAPES = {
    "granite-1b": {"hidden": 1024, "ffn": 512, "experts": 32, "k": 8},
    "olmoe": {"hidden": 2048, "ffn": 1024, "experts": 64, "k": 8},
    "qwen3-30b": {"hidden": 2048, "ffn": 768, "experts": 128, "k": 8},
    "deepseek-v2-lite": {"hidden": 2048, "ffn": 1408, "experts": 64, "k": 6},
}


def random_plans(shape, tokens):
    """Ids and weights (tokens, k) and rows (tokens, hidden)."""
    import torch

    torch.manual_seed(2)
    plans = []
    for _ in range(32 if tokens <= 64 else 3):
        ids = torch.rand(tokens, shape["experts"]).argsort(-1)[:, : shape["k"]]
        x = torch.randn(tokens, shape["hidden"]).to(torch.bfloat16)
        plans.append((ids.contiguous(), torch.full(ids.shape, 1.0 / shape["k"]), x))
    return plans


class Ours:
    """bench_layer, which waits until it is asked; shares of the limit by test."""

    def __init__(self, options, test):
        command = [
            options.bench_layer, f"--shape={options.shape}", f"--format={options.format}", f"--tokens={options.tokens}",
            "--routing=uniform", "--part=experts", f"--threads={options.t}", "--rounds=5", "--on-request",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.test, self.shares = test, {}
        self.row()  # measures once when it starts

    def row(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} failed")
        return json.loads(line)

    def measure(self):
        time.sleep(0.3)  # until a peer's threads have stopped waiting for work
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        row = self.row()
        self.shares.setdefault(self.test, []).append(row["share_of_limit"])
        return {self.test: row["ms"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def theirs(run, tokens, turns):
    """Milliseconds of a layer: the median of samples of 50 ms or more."""
    samples, turn = [], turns["next"]
    for _ in range(9):
        start, count = time.perf_counter(), 0
        while count == 0 or (tokens <= 64 and time.perf_counter() - start < 0.05):
            run(turn)
            turn, count = turn + 1, count + 1
        samples.append(1e3 * (time.perf_counter() - start) / count)
    turns["next"] = turn
    return statistics.median(samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", required=True, choices=SHAPES)
    parser.add_argument("--format", required=True, help="a format of bench_layer: bf16_dots, q8_0, q4_0, ...")
    parser.add_argument("--tokens", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="of A B B A")
    parser.add_argument("-t", type=int, default=len(os.sched_getaffinity(0)), help="threads")
    parser.add_argument("--bench-layer", metavar="PROGRAM", default=ROOT / "build/bench/benchmarks/bench_layer")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    bytes_of_bank = 3 * shape["hidden"] * shape["ffn"] * shape["experts"] * 2
    layers = max(2, (400 << 20) // bytes_of_bank)
    is_paired = False
    for peer in layer_peers.PEERS:
        if options.format not in peer.formats:
            print(f"skipped {peer.name}: it has no {options.format}")
            continue
        if reason := peer.absent():
            print(f"skipped {peer.name}: {reason}")
            continue
        import torch

        torch.set_num_threads(options.t)
        test = f"{options.shape} {options.format} T={options.tokens}"
        with torch.inference_mode(), Ours(options, test) as ours:
            run = peer.make(shape, options.format, random_plans(shape, options.tokens), layers)
            for turn in range(2 * layers):
                run(turn)  # what it packs when it first sees weights
            turns, load = {"next": 0}, os.getloadavg()[0]
            means = abba.pair(ours.measure, lambda: {test: theirs(run, options.tokens, turns)}, options.rounds)
        is_paired = True
        title = f"{options.t} threads, {options.rounds} rounds, load {load:.1f} to {os.getloadavg()[0]:.1f}"
        abba.print_table(title, ("headgate", peer.name), "ms", means, ours.shares, lower_is_better=True)
    sys.exit(0 if is_paired else 1)


if __name__ == "__main__":
    main()
