#!/usr/bin/env python3
"""Outputs of a decoder layer of Chain-of-Experts, behind its attention.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is ZihanWang314/CoE at d2af562aab33, config/models/coe_deepseekv2/modeling_coe.py. The layer's attention is
replaced by one that adds 0, and names that transformers 5 no longer has are stood in for: construction. Norm, iterations,
gates, experts and residuals are the layer's own, in float32. `hidden` is what leaves its second norm.
"""
import os
import sys
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, FFN, EXPERTS, TOKENS = 6, 3, 5, 6
CASES = [  # iterations, k, a router for each iteration, inner residual, shared experts, divided by the sum
    (2, 2, True, True, 1, False),
    (3, 1, True, True, None, False),
    (2, 2, False, False, 2, False),
    (1, 3, True, False, None, True),
]


class NoAttention(torch.nn.Module):
    def forward(self, hidden_states, **rest):
        return torch.zeros_like(hidden_states), None, None


def vector(model, iterations, k, own, inner, shared, divided, generator):
    config = types.SimpleNamespace(
        hidden_size=HIDDEN, intermediate_size=9, moe_intermediate_size=FFN, n_routed_experts=EXPERTS,
        n_shared_experts=shared, num_experts_per_tok=k, routed_scaling_factor=1.0, scoring_func="softmax",
        aux_loss_alpha=0.0, seq_aux=False, topk_method="greedy", n_group=1, topk_group=1, norm_topk_prob=divided,
        hidden_act="silu", inner_iter=iterations, use_igate=own, inner_residual=inner, outer_residual=False,
        rms_norm_eps=1e-6, first_k_dense_replace=0, moe_layer_freq=1, _attn_implementation="none")
    for classes in (name for name in vars(model) if name.endswith("ATTENTION_CLASSES")):
        getattr(model, classes)["none"] = lambda **rest: NoAttention()
    layer = model.CoeDecoderLayer(config, 0).eval()
    official.fill(layer, 0.6, generator)
    seen = []
    layer.post_attention_layernorm.register_forward_hook(lambda module, args, result: seen.append(result))
    gates = list(layer.mlp.gate) if own else [layer.mlp.gate]
    routes = []
    for gate in gates:
        gate.register_forward_hook(lambda module, args, result: routes.append(
            (result[0], result[1], (args[0].view(-1, HIDDEN) @ module.weight.T).softmax(-1))))
    with torch.no_grad():
        y = layer(official.dyadic(1, TOKENS, HIDDEN, generator=generator))[0]

    def mlp(m):
        return {"gate": official.flat(m.gate_proj.weight), "up": official.flat(m.up_proj.weight),
                "down": official.flat(m.down_proj.weight)}

    return {
        "iterations": iterations, "k": k, "inner_residual": inner, "divided": divided,
        "margin": min(official.margin(scores, k) for _, _, scores in routes),
        "gates": [official.flat(g.weight) for g in gates],
        "experts": [mlp(e) for e in layer.mlp.experts],
        "shared": mlp(layer.mlp.shared_experts) if shared else None, "shared_ffn": FFN * (shared or 0),
        "hidden": official.flat(seen[0]), "y": official.flat(y),
        "routes": [{"ids": ids.tolist(), "weights": weights.tolist()} for ids, weights, _ in routes],
    }


def main():
    official.absent("transformers.modeling_attn_mask_utils")
    official.lend("transformers.utils.import_utils", is_torch_fx_available=lambda: False)
    official.absent("coe_official.configuration_coe")
    model = official.load(os.path.join(sys.argv[1], "config", "models", "coe_deepseekv2"), "modeling_coe",
                          "coe_official")
    official.write([official.decided(lambda g: vector(model, *case, g), 13000 + 100 * i)
                    for i, case in enumerate(CASES)])


main()
