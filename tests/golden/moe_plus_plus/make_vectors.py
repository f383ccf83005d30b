#!/usr/bin/env python3
"""Logits, gates and outputs of MoE++'s layer, two layers with a gate residual.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is SkyworkAI/MoE-plus-plus at 7f439675dd01; its layer file runs unchanged. It multiplies its input in place, so
it is given copies. The gate is float32 by its own doing, so is everything else.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, FFN, EXPERTS, TOKENS = 6, 3, 7, 5  # experts: 3 feed-forward, 2 constant, 1 copy, 1 zero
CASES = [
    {},
    {"moe_2layer_gate": False, "moe_feature_no_mul_topk": True},
    {"moe_use_logits_norm": True, "moe_gate_norm_std": 1.5},
    {"moe_use_mixtral_gating": True, "moe_use_logits_norm": True},
]


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden_size = HIDDEN
        self.gate = torch.nn.Linear(HIDDEN, FFN, bias=False)
        self.up = torch.nn.Linear(HIDDEN, FFN, bias=False)
        self.down = torch.nn.Linear(FFN, HIDDEN, bias=False)

    def forward(self, x):
        return self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x))


def vector(moe_of, options, generator):
    residual, layers = None, []
    for _ in range(2):
        module = moe_of(HIDDEN, Mlp(), num_experts=EXPERTS, **options)
        official.fill(module, 0.5, generator)
        hidden = official.dyadic(TOKENS, HIDDEN, generator=generator)
        gate, experts = module.moe.gate, module.moe.experts.experts
        info = []
        gate.register_forward_hook(lambda module, args, result: info.append(result[0]))
        with torch.no_grad():
            y, logits = module(hidden.clone(), gate_residual=residual)
        weights = torch.zeros(TOKENS, EXPERTS)
        chosen = torch.zeros(TOKENS, EXPERTS, dtype=torch.long)
        for expert, (tokens, values) in info[0].items():
            weights[tokens, expert] = values
            chosen[tokens, expert] = 1
        two = not isinstance(gate.wg, torch.nn.Linear)
        layers.append({
            "first": official.flat(gate.wg[0].weight) if two else [],
            "last": official.flat(gate.wg[2].weight if two else gate.wg.weight),
            "residual": official.flat(gate.gate_map.weight), "hidden": official.flat(hidden),
            "experts": [{"gate": official.flat(e.gate.weight), "up": official.flat(e.up.weight),
                         "down": official.flat(e.down.weight)} for e in experts[:EXPERTS - 4]],
            "constants": [{"value": official.flat(e.constant), "gate": official.flat(e.wg.weight)}
                          for e in experts[EXPERTS - 4:EXPERTS - 2]],
            "logits": official.flat(logits), "chosen": chosen.flatten().tolist(),
            "weights": official.flat(weights), "y": official.flat(y),
            "margin": official.margin(logits.softmax(-1), 2),
        })
        residual = logits
    return {"options": options, "layers": layers}


def main():
    moe_of = official.load(os.path.join(sys.argv[1], "MoE++"), "moe_plus_plus_layer").MOE
    official.write([official.decided(lambda g: vector(moe_of, options, g), 11000 + 100 * i)
                    for i, options in enumerate(CASES)])


main()
