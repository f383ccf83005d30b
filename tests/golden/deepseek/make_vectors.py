#!/usr/bin/env python3
"""Routes of random tokens by DeepSeek's inference Gate and by transformers' routers for DeepSeek-V2 and V3.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is deepseek-ai/DeepSeek-V3 at 9b4e9788e4a3 (transformers 5.24, torch 2). The Gate has a bias only where the model
is 7168 wide: it is given one after construction, which changes no arithmetic. Its module imports fp8 kernels that are not
called. transformers' V2 router fills other groups with 0 and its scores are never negative, so that ids agree.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, TOKENS = 10, 8
# name, experts, k, groups, topk_group, scale
CASES = [
    ("gate_v3", 12, 4, 4, 2, 2.5),
    ("gate_v3", 10, 3, 5, 2, 2.5),
    ("gate_v3", 7, 3, 1, 1, 2.446),  # as Moonlight
    ("gate_v2", 12, 4, 4, 2, 16.0),
    ("transformers_v3", 12, 4, 4, 2, 2.5),
    ("transformers_v2_groups", 12, 4, 4, 2, 16.0),
    ("transformers_v2_greedy", 7, 3, 1, 1, 1.0),
]


def gate(model, name, experts, k, groups, topk_group, scale):
    sigmoid = name == "gate_v3"
    args = model.ModelArgs(dim=HIDDEN, n_activated_experts=k, n_expert_groups=groups, n_limited_groups=topk_group,
                           score_func="sigmoid" if sigmoid else "softmax", route_scale=scale, n_routed_experts=experts)
    module = model.Gate(args)
    if sigmoid:
        module.bias = torch.nn.Parameter(torch.empty(experts))
    return module, module.weight, module.bias


def of_transformers(name, experts, k, groups, topk_group, scale):
    from transformers import DeepseekV2Config, DeepseekV3Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
    common = dict(hidden_size=HIDDEN, num_experts_per_tok=k, n_group=groups, topk_group=topk_group,
                  routed_scaling_factor=scale, n_routed_experts=experts, num_attention_heads=2)
    if name == "transformers_v3":
        module = DeepseekV3TopkRouter(DeepseekV3Config(norm_topk_prob=True, **common))
        return module, module.weight, module.e_score_correction_bias
    method = "greedy" if name.endswith("greedy") else "group_limited_greedy"
    module = DeepseekV2TopkRouter(DeepseekV2Config(topk_method=method, **common))
    return module, module.weight, None


def vector(model, case, generator):
    name, experts, k, groups, topk_group, scale = case
    module, weight, bias = gate(model, *case) if name.startswith("gate") else of_transformers(*case)
    with torch.no_grad():
        weight.copy_(official.dyadic(experts, HIDDEN, scale=0.6, generator=generator))
        if bias is not None:  # some below -1, so that keys are negative
            bias.copy_(official.dyadic(experts, scale=0.7, generator=generator) - 0.5)
        hidden = official.dyadic(TOKENS, HIDDEN, generator=generator)
        result = module(hidden)
    weights, ids = result if len(result) == 2 else result[1:]
    z = hidden.double() @ weight.double().T
    keys = z.sigmoid() + bias.double() if bias is not None else z.softmax(-1)
    keys = keys.view(TOKENS, groups, -1)
    strength = keys.topk(2 if bias is not None and groups > 1 else 1, -1)[0].sum(-1)
    last = strength.topk(topk_group, -1)[0][:, -1:]
    allowed = keys.masked_fill((strength < last)[..., None], -1e9).flatten(1)
    return {
        "name": name, "experts": experts, "k": k, "groups": groups, "topk_group": topk_group, "scale": scale,
        "margin": min(official.margin(strength, topk_group), official.margin(allowed, k)),
        "gate": official.flat(weight), "bias": [] if bias is None else official.flat(bias),
        "hidden": official.flat(hidden), "ids": ids.flatten().tolist(), "weights": official.flat(weights),
    }


def main():
    official.absent("kernel")
    model = official.load(os.path.join(sys.argv[1], "inference"), "model")
    official.write([official.decided(lambda g: vector(model, case, g), 3000 + 100 * i)
                    for i, case in enumerate(CASES)])


main()
