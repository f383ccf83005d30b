#!/usr/bin/env python3
"""Capacities of an expert as the official code counts them.

    python make_vectors.py DYNMOE > vectors.json

DYNMOE is a checkout of LINs-lab/DynMoE at 49272326e794, which carries DeepSpeed 0.9.5: _capacity of its sharded_moe.py
runs unchanged, called as top2gating calls it. Tutel's capacities are in tests/golden/tutel.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402


def main():
    official.absent("deepspeed", "deepspeed.utils", "deepspeed.utils.timer", "dynmoe.mappings")
    folder = os.path.join(sys.argv[1], "DeepSpeed-0.9.5", "deepspeed", "moe")
    sharded = official.load(folder, "sharded_moe", "dynmoe")
    cases = []
    for tokens in (1, 7, 10, 100, 1000):
        for experts in (1, 5, 11, 64):
            for factor in (0.5, 1.0, 1.1, 1.25, 2.0):
                capacity = sharded._capacity(torch.zeros(tokens, experts), torch.tensor(factor * 2), torch.tensor(4))
                cases.append([tokens, experts, factor, int(capacity)])
    official.write(cases)


main()
