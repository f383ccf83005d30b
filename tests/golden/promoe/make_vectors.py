#!/usr/bin/env python3
"""Experts and weights of ProMoE's router, with and without unconditional samples.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is ali-vilab/ProMoE at 5915b31e00f8; SparseMoeBlock of models_ProMoE_TC.py runs unchanged, in evaluation mode. timm, which the file
imports for its patch embedding, is not there.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, FFN, TOKENS = 10, 3, 4
# prototypes, k, mode, labels of the samples, is there an expert for unconditional ones
CASES = [(5, 1, "identity", [3, 1000], True), (5, 3, "identity", [1000, 999], True), (11, 2, "softmax", [0, 1], True),
         (3, 3, "identity", [7, 1000], True), (5, 2, "sigmoid", [1000, 1000], True),
         (5, 2, "sigmoid", [1000, 6], False)]


def vector(promoe, prototypes, k, mode, labels, uncond, generator):
    block = promoe.SparseMoeBlock(prototypes, HIDDEN, FFN, FFN, top_k=k, router_weight_mode=mode,
                                  use_uncond_expert=uncond).eval()
    official.fill(block, 0.5, generator)
    x = official.dyadic(len(labels), TOKENS, HIDDEN, generator=generator)
    with torch.no_grad():
        weights, ids, _ = block.compute_router(x, torch.tensor(labels))
        cosine = (torch.nn.functional.normalize(x.view(-1, HIDDEN))
                  @ torch.nn.functional.normalize(block.cluster_centers).T)
    return {
        "prototypes": official.flat(block.cluster_centers), "k": k, "mode": mode, "null_expert": uncond, "hidden": official.flat(x),
        "labels": [label for label in labels for _ in range(TOKENS)], "ids": ids.flatten().tolist(),
        "weights": official.flat(weights),
        "margin": official.margin(cosine, k),
    }


def main():
    official.absent("timm", "timm.models", "timm.models.vision_transformer")
    promoe = official.load(os.path.join(sys.argv[1], "models"), "models_ProMoE_TC", "models")
    official.write([official.decided(lambda g: vector(promoe, *case, g), 14000 + 100 * i)
                    for i, case in enumerate(CASES)])


main()
