#!/usr/bin/env python3
"""Weights of DynMoE's gate in evaluation mode: which experts of a token, 1 / their number each.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is LINs-lab/DynMoE at 49272326e794; sharded_moe.py of its DeepSpeed runs unchanged. What it imports of DeepSpeed
(timers, logging, groups) is not there and never called; dist.all_reduce, which it calls without importing it, does
nothing in a world of one.
"""
import os
import sys
from unittest import mock

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, TOKENS = 10, 7
# experts now, prototypes, temperature, least threshold: high ones leave tokens without an expert
CASES = [(5, 5, 0.0, -0.3), (7, 11, 1.5, -0.2), (5, 8, 9.0, -0.1), (4, 4, 0.5, 0.2)]


def vector(sharded, experts, prototypes, temperature, least, generator):
    gate = sharded.GAMoEGateT(HIDDEN, experts, max_expert_num=prototypes, fp32_gate=True).eval()
    with torch.no_grad():
        gate.sim_matrix.copy_(official.dyadic(HIDDEN, prototypes, generator=generator))
        gate.gates.copy_(least + official.dyadic(prototypes, scale=0.2, generator=generator).abs())
        gate.temperature.fill_(temperature)
        if prototypes > experts:  # one left, another came
            gate.experts_mask[1] = 0.0
            gate.experts_mask[prototypes - 1] = 1.0
        x = official.dyadic(TOKENS, HIDDEN, generator=generator)
        chosen, k = gate(x)
        _, combine, _, _ = sharded.topanygating_opt(chosen.clone(), 1.0, 1, k, gate.sim_matrix, gate.experts_mask)
        factor = min(temperature, gate.clamp_max)
        cosine = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(gate.sim_matrix, dim=0)
        scores = torch.sigmoid(cosine * torch.tensor(factor).exp()) * gate.experts_mask
        thresholds = torch.sigmoid(gate.gates * torch.tensor(factor).exp())
    return {
        "hidden": official.flat(x), "sim_matrix": official.flat(gate.sim_matrix), "gates": official.flat(gate.gates),
        "experts_mask": [int(m) for m in gate.experts_mask], "temperature": temperature,
        "weights": official.flat(combine.sum(dim=2)), "alone": int(((scores > thresholds).sum(dim=1) == 0).sum()),
        "margin": min((scores - thresholds).abs().min().item(), official.margin(scores, 1)),
    }


def main():
    official.absent("deepspeed", "deepspeed.utils", "deepspeed.utils.timer", "dynmoe.mappings")
    folder = os.path.join(sys.argv[1], "DeepSpeed-0.9.5", "deepspeed", "moe")
    sharded = official.load(folder, "sharded_moe", "dynmoe")
    sharded.dist = mock.MagicMock()
    official.write([official.decided(lambda g: vector(sharded, *case, g), 12000 + 100 * i)
                    for i, case in enumerate(CASES)])


main()
