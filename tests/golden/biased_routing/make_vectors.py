"""Routes of random tokens by transformers' routers that choose with a bias: LFM2-MoE, ERNIE 4.5, GLM-4.7-Flash, DeepSeek-V3.

Odd shapes: 7 and 10 experts, k 3, hidden size 10. Keys that decide are at least 1e-4 apart.
usage: make_vectors.py > vectors.json        (transformers 5.24, torch 2)
"""

import pathlib
import sys

import torch
from transformers import DeepseekV3Config, Ernie4_5_MoeConfig, Glm4MoeLiteConfig, Lfm2MoeConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.ernie4_5_moe.modeling_ernie4_5_moe import Ernie4_5_MoeTopKRouter
from transformers.models.glm4_moe_lite.modeling_glm4_moe_lite import Glm4MoeLiteTopkRouter
from transformers.models.lfm2_moe.modeling_lfm2_moe import Lfm2MoeTopKRouter

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import official  # noqa: E402

HIDDEN, TOKENS, K = 10, 8, 3


def lfm2(experts, **more):
    return Lfm2MoeTopKRouter(Lfm2MoeConfig(
        hidden_size=HIDDEN, num_experts=experts, num_experts_per_tok=K, num_hidden_layers=1, layer_types=["conv"], **more))


def ernie(experts, **more):
    return Ernie4_5_MoeTopKRouter(Ernie4_5_MoeConfig(hidden_size=HIDDEN, moe_num_experts=experts, moe_k=K, **more))


def glm(experts, **more):
    return Glm4MoeLiteTopkRouter(Glm4MoeLiteConfig(
        hidden_size=HIDDEN, n_routed_experts=experts, num_experts_per_tok=K, num_attention_heads=2, **more))


def deepseek(experts, **more):
    return DeepseekV3TopkRouter(DeepseekV3Config(
        hidden_size=HIDDEN, n_routed_experts=experts, num_experts_per_tok=K, num_attention_heads=2, **more))


# name, maker, experts, options of the configuration
CASES = [
    ("lfm2_moe", lfm2, 7, dict(norm_topk_prob=True, routed_scaling_factor=1.0)),
    ("lfm2_moe", lfm2, 7, dict(norm_topk_prob=True, routed_scaling_factor=1.7)),
    ("lfm2_moe", lfm2, 10, dict(norm_topk_prob=False, routed_scaling_factor=1.7)),
    ("ernie4_5_moe", ernie, 7, dict(moe_norm_min=1e-12)),
    ("ernie4_5_moe", ernie, 10, dict(moe_norm_min=0.9)),  # more than the sum of most rows
    ("glm4_moe_lite", glm, 7, dict(norm_topk_prob=True, routed_scaling_factor=1.8)),
    ("deepseek_v3", deepseek, 10, dict(norm_topk_prob=False, routed_scaling_factor=2.5, n_group=5, topk_group=2)),
]


@torch.no_grad()
def vector(name, make, experts, options, generator):
    module = make(experts, **options).float().eval()
    gate = official.dyadic(experts, HIDDEN, scale=0.6, generator=generator)
    bias = official.dyadic(experts, scale=0.3, generator=generator)
    hidden = official.dyadic(TOKENS, HIDDEN, generator=generator)
    module.weight.copy_(gate)
    logits = hidden @ gate.T
    if name == "lfm2_moe":
        _, weights, ids = module(hidden, bias)
    else:
        buffer = module.moe_statics if name == "ernie4_5_moe" else module
        buffer.e_score_correction_bias.copy_(bias.view_as(buffer.e_score_correction_bias))
        _, weights, ids = module(hidden)
    scores = logits.softmax(-1) if name == "ernie4_5_moe" else logits.sigmoid()
    margin = official.margin(scores + bias, K)
    if "n_group" in options:
        groups = (scores + bias).view(TOKENS, options["n_group"], -1).topk(2).values.sum(-1)
        margin = min(margin, official.margin(groups, options["topk_group"]),
                     official.margin(scores + bias, experts))
    return {
        "name": name, "experts": experts, "k": K, "options": options, "margin": margin, "gate": official.flat(gate),
        "bias": official.flat(bias), "hidden": official.flat(hidden), "ids": [int(i) for i in ids.flatten()],
        "weights": official.flat(weights),
    }


official.write([official.decided(lambda g, c=case: vector(*c, g), 30 + i) for i, case in enumerate(CASES)])
