#!/usr/bin/env python3
"""Which tokens the experts of EC-DiT choose, with which weights.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is ali-vilab/ProMoE at 5915b31e00f8; SparseMoEBlock of models_ECDiT.py runs unchanged. Its experts are ones that
give back their own unit vector, so that the layer's output is the matrix of weights. timm, which the file imports for
its patch embedding, is not there.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN = 12
# sequences, their length, experts, capacity factor
CASES = [(2, 4, 3, 2), (1, 8, 5, 2), (1, 8, 11, 1.5), (2, 4, 5, 5), (4, 2, 3, 1.5)]


class Unit(torch.nn.Module):
    def __init__(self, place):
        super().__init__()
        self.place = place

    def forward(self, x):
        return torch.nn.functional.one_hot(torch.tensor(self.place), HIDDEN).float().expand_as(x)


def vector(ecdit, sequences, length, experts, capacity, generator):
    block = ecdit.SparseMoEBlock([Unit(e) for e in range(experts)], HIDDEN, experts, capacity=capacity)
    official.fill(block, 0.5, generator)
    x = official.dyadic(sequences, length, HIDDEN, generator=generator)
    with torch.no_grad():
        scores = torch.nn.functional.linear(x, block.gate_weight).softmax(dim=-1).transpose(1, 2)
        weights = block(x)[..., :experts]
    count = int(length / experts * capacity)
    ordered = scores.sort(dim=-1, descending=True).values
    gap = (ordered[..., count - 1] - ordered[..., count]).min().item() if 0 < count < length else 1.0
    return {"group_size": length, "capacity_factor": capacity, "gate": official.flat(block.gate_weight),
            "hidden": official.flat(x), "weights": official.flat(weights), "capacity": count, "margin": gap}


def main():
    official.absent("timm", "timm.models", "timm.models.vision_transformer")
    ecdit = official.load(os.path.join(sys.argv[1], "models"), "models_ECDiT", "models")
    official.write([official.decided(lambda g: vector(ecdit, *case, g), 16000 + 100 * i)
                    for i, case in enumerate(CASES)])


main()
