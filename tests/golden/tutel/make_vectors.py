#!/usr/bin/env python3
"""Logits of Tutel's cosine gate, weights of its routing, and which of them its capacity leaves.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is microsoft/tutel at 82af7aad9fc3; cosine_top.py and fast_dispatch.py run unchanged. Its compiled kernels are
not there: torch.cumsum takes their place, as tutel itself has it on a CPU.
"""
import os
import sys
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, TOKENS = 10, 8
# experts, k, width of the projector, temperature, capacity factor, by priority
CASES = [
    (5, 2, 12, 0.6931, 1.0, False), (5, 2, 12, 0.6931, 1.0, True), (11, 3, 7, 1.0, 0.0, False),
    (3, 1, 14, 6.0, -0.5, False), (3, 2, 9, 1.0, -0.7, False), (3, 2, 9, 1.0, 0.7, True),
]


def vector(cosine, dispatch, experts, k, width, temperature, factor, by_priority, generator):
    gate = cosine.CosineTopKGate(HIDDEN, experts, k=k, fp32_gate=True, proj_dim=width)
    official.fill(gate, 0.5, generator)
    with torch.no_grad():
        gate.temperature.fill_(temperature)
        x = official.dyadic(TOKENS, HIDDEN, generator=generator)
        logits = gate(x)
        scores = torch.softmax(logits, dim=1)
        (_, ids, locations, weights, capacity, _), _ = dispatch.extract_critical(
            scores, k, capacity_factor=factor, batch_prioritized_routing=by_priority)
    kept = torch.stack(locations, dim=1) < capacity
    best = scores.max(dim=1).values
    return {
        "hidden": official.flat(x), "projector": official.flat(gate.cosine_projector.weight),
        "projector_bias": official.flat(gate.cosine_projector.bias), "sim_matrix": official.flat(gate.sim_matrix),
        "experts": experts, "k": k, "temperature": temperature, "capacity_factor": factor, "by_priority": by_priority,
        "logits": official.flat(logits), "ids": torch.stack(ids, dim=1).flatten().tolist(),
        "weights": official.flat(torch.stack(weights, dim=1)), "capacity": capacity,
        "kept": [int(b) for b in kept.flatten()],
        "margin": min(official.margin(scores, k), official.margin(best, TOKENS - 1) if by_priority else 1.0),
    }


def main():
    root = os.path.join(sys.argv[1], "tutel")
    official.absent("tutel.impls.jit_compiler", "tutel.jit_kernels", "tutel.jit_kernels.sparse")
    gating = types.ModuleType("tutel.jit_kernels.gating")
    gating.fast_cumsum_sub_one = lambda mask: torch.cumsum(mask, dim=0) - 1
    sys.modules["tutel.jit_kernels.gating"] = gating
    package = types.ModuleType("tutel")
    package.__path__ = [root]
    sys.modules["tutel"] = package
    dispatch = official.load(os.path.join(root, "impls"), "fast_dispatch", "tutel.impls")
    cosine = official.load(os.path.join(root, "gates"), "cosine_top", "tutel.gates")
    official.write([official.decided(lambda g: vector(cosine, dispatch, *case, g), 13000 + 100 * i)
                    for i, case in enumerate(CASES)])


main()
