#!/usr/bin/env python3
"""Gates and outputs of Monet's router and of both kinds of its experts.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is dmis-lab/Monet at b5cb786e938c; its model file runs unchanged once the names that transformers no longer has
are there, which these modules do not use. All numbers are float32.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

TOKENS = 5
CASES = [
    {"hidden_size": 10, "moe_heads": 3, "moe_experts": 7, "moe_topk": 2, "moe_dim": 4, "moe_decompose": "horizontal"},
    {"hidden_size": 10, "moe_heads": 3, "moe_experts": 7, "moe_topk": 2, "moe_dim": 4, "moe_decompose": "vertical"},
    {"hidden_size": 12, "moe_heads": 1, "moe_experts": 5, "moe_topk": 1, "moe_dim": 2, "moe_decompose": "vertical"},
    {"hidden_size": 6, "moe_heads": 2, "moe_experts": 16, "moe_topk": 4, "moe_dim": 3, "moe_decompose": "horizontal"},
]


def sides(modules, take):
    return [official.flat(take(module)) for module in modules]


def vector(monet, options, generator):
    config = monet.MonetConfig(**options, intermediate_size=1, mlp_bias=False, num_attention_heads=1)  # not used
    router = monet.MonetRouter(config).eval()
    experts = (monet.MonetMoHDE if options["moe_decompose"] == "horizontal" else monet.MonetMoVDE)(config).eval()
    official.fill(router, 0.5, generator)
    official.fill(experts, 0.5, generator)
    norms = [router.norm1, router.norm2]
    for norm in norms:
        norm.running_mean.copy_(official.dyadic(options["moe_heads"], scale=0.3, generator=generator))
        norm.running_var.copy_(official.dyadic(options["moe_heads"], generator=generator).abs() + 0.5)
    hidden = official.dyadic(1, TOKENS, options["hidden_size"], generator=generator)
    sigma = float(monet.norm.ppf(1 - options["moe_topk"] / options["moe_experts"]))
    with torch.no_grad():
        gates = router(hidden)
        y = experts(hidden, *gates)
        margin = 1.0
        for linear, norm in zip([router.w1, router.w2], norms):
            z = linear(hidden).unflatten(-1, (options["moe_heads"], -1))
            z = (z - norm.running_mean[:, None]) / torch.sqrt(norm.running_var[:, None] + norm.eps)
            margin = min(margin, (z - sigma).abs().min().item())
    return {
        "options": options, "sigma": sigma, "hidden": official.flat(hidden), "y": official.flat(y),
        "gates": [official.flat(g) for g in gates], "w": sides([router.w1, router.w2], lambda m: m.weight),
        "mean": sides(norms, lambda m: m.running_mean), "variance": sides(norms, lambda m: m.running_var),
        "experts": {name: official.flat(value) for name, value in experts.named_parameters()}, "margin": margin,
    }


def main():
    official.absent("transformers.modeling_attn_mask_utils")
    official.lend("transformers.models.llama.modeling_llama", LLAMA_ATTENTION_CLASSES={})
    monet = official.load(sys.argv[1], "modeling_monet")
    official.write([official.decided(lambda g: vector(monet, options, g), 15000 + 100 * i)
                    for i, options in enumerate(CASES)])


main()
