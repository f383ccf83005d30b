#!/usr/bin/env python3
"""Experts, weights and outputs of PEER layers.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is lucidrains/PEER-pytorch at 6cb671f997c3, which needs einx and einops and runs unchanged. There is no official
code. Where softmax weighs, the least distance of sums that decide is kept; its order among equal sums is torch's.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

TOKENS = 5
CASES = [
    {"dim": 10, "heads": 1, "num_experts": 25, "num_experts_per_head": 3, "dim_key": 4, "non_competing_scores": False},
    {"dim": 14, "heads": 3, "num_experts": 49, "num_experts_per_head": 4, "non_competing_scores": False},
    {"dim": 8, "heads": 4, "num_experts": 16, "num_experts_per_head": 4, "dim_key": 3},
    {"dim": 6, "heads": 2, "num_experts": 4, "num_experts_per_head": 2, "dim_key": 5, "non_competing_scores": False},
]


def vector(layer_of, options, generator):
    module = layer_of(**options).eval()
    official.fill(module, 0.5, generator)
    hidden = official.dyadic(1, TOKENS, options["dim"], generator=generator)
    seen = []
    module.weight_down_embed.register_forward_hook(lambda module, args, result: seen.append(args[0]))
    module.score_activation.register_forward_hook(lambda module, args, result: seen.append(result))
    with torch.no_grad():
        y = module(hidden)
        queries = module.to_queries(hidden)
        halves = torch.einsum("pbnhd,hkpd->pbnhk", queries, module.keys)
    sums = (halves[0][..., :, None] + halves[1][..., None, :]).flatten(-2)
    indices, weights = seen
    return {
        "options": {"key_size": module.keys.shape[-1], "k": indices.shape[-1], "hidden_size": options["dim"],
                    "heads": options["heads"], "side": module.num_keys,
                    "relu": options.get("non_competing_scores", True)},
        "query": official.flat(module.to_queries[0].weight), "keys": official.flat(module.keys),
        "down": official.flat(module.weight_down_embed.weight), "up": official.flat(module.weight_up_embed.weight),
        "hidden": official.flat(hidden), "experts": indices.flatten().tolist(), "weights": official.flat(weights),
        "y": official.flat(y), "margin": official.margin(sums, indices.shape[-1]),
    }


def main():
    layer_of = official.load(os.path.join(sys.argv[1], "PEER_pytorch"), "PEER").PEER
    official.write([official.decided(lambda g: vector(layer_of, options, g), 14000 + 100 * i)
                    for i, options in enumerate(CASES)])


main()
