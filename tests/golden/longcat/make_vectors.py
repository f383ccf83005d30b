"""Ids, weights and outputs of transformers' LongCat-Flash layer: zero experts that return their input.

usage: make_vectors.py > vectors.json        (transformers 5.24, torch 2)
"""

import pathlib
import sys

import torch
from transformers import LongcatFlashConfig
from transformers.models.longcat_flash.modeling_longcat_flash import LongcatFlashMoE

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from official import decided, dyadic, fill, flat, margin, write  # noqa: E402

HIDDEN, FFN, TOKENS = 10, 3, 7
# experts, zero experts, k, scale, size of biases
CASES = [(5, 3, 3, 6.0, 0.2), (3, 8, 5, 1.5, 0.1), (7, 1, 2, 9.0, 0.0)]


def vector(experts, zeros, k, scale, bias, generator):
    config = LongcatFlashConfig(
        hidden_size=HIDDEN, expert_ffn_hidden_size=FFN, n_routed_experts=experts, zero_expert_num=zeros, moe_topk=k,
        num_experts_per_tok=k, routed_scaling_factor=scale, num_attention_heads=2)
    moe = LongcatFlashMoE(config).float().eval()
    fill(moe, 0.5, generator)
    with torch.no_grad():
        moe.router.e_score_correction_bias.copy_(dyadic(experts + zeros, scale=bias, generator=generator))
        x = dyadic(TOKENS, HIDDEN, generator=generator)
        logits, weights, ids = moe.router(x)
        y = moe(x[None])[0]
    keys = logits.softmax(-1) + moe.router.e_score_correction_bias
    gate, up = moe.experts.gate_up_proj[:experts].chunk(2, dim=1)
    return {
        "experts": experts, "zeros": zeros, "k": k, "scale": scale, "hidden": flat(x),
        "gate": flat(moe.router.classifier.weight), "bias": flat(moe.router.e_score_correction_bias),
        "ffn": [{"gate": flat(gate[e]), "up": flat(up[e]), "down": flat(moe.experts.down_proj[e])}
                for e in range(experts)],
        "ids": [int(i) for i in ids.flatten()], "weights": flat(weights), "y": flat(y), "margin": margin(keys, k),
    }


write([decided(lambda g: vector(*case, g), 15000 + 100 * i) for i, case in enumerate(CASES)])
