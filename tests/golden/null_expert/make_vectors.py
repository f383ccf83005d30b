#!/usr/bin/env python3
"""Outputs of AdaMoE's sparse block, with the experts its router chose.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is CengZihao/AdaMoE at 180f1227fbb3. Its block imports a class of experts that transformers no longer has: the
script hands it one (SwiGLU with w1, w3, w2), which is construction; routing, weighing and combining are the block's own.
It takes ids 0 to 7 for the true experts, so there are 8. 4-bit loading and LoRA, which surround it, are not used.
"""
import os
import sys
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, FFN, TRUE, TOKENS = 6, 3, 8, 8
CASES = [(8, 3), (16, 4), (2, 1)]  # null experts, k


class Mlp(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.w1 = torch.nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w3 = torch.nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w2 = torch.nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.w2(torch.nn.functional.silu(self.w1(x)) * self.w3(x))


def vector(block_of, nulls, k, generator):
    config = types.SimpleNamespace(hidden_size=HIDDEN, intermediate_size=FFN, num_local_experts=TRUE,
                                   num_experts_per_tok=k, router_jitter_noise=0.0)
    block = block_of(config, nulls).eval()
    official.fill(block, 0.7, generator)
    hidden = official.dyadic(1, TOKENS, HIDDEN, generator=generator)
    chosen = []
    one_hot = torch.nn.functional.one_hot

    def watch(ids, num_classes):
        chosen.append(ids)
        return one_hot(ids, num_classes=num_classes)

    torch.nn.functional.one_hot = watch
    with torch.no_grad():
        y, logits = block(hidden)
    torch.nn.functional.one_hot = one_hot
    return {
        "nulls": nulls, "k": k, "margin": official.margin(logits.softmax(-1), k),
        "gate": official.flat(torch.cat([block.gate.weight, block.gate2.weight])),
        "experts": [{"gate": official.flat(e.w1.weight), "up": official.flat(e.w3.weight),
                     "down": official.flat(e.w2.weight)} for e in block.experts],
        "hidden": official.flat(hidden), "chosen": chosen[0].tolist(), "y": official.flat(y),
    }


def main():
    import transformers.models.mixtral.modeling_mixtral as mixtral
    mixtral.MixtralBlockSparseTop2MLP = Mlp
    folder = os.path.join(sys.argv[1], "exp_2", "LLaMA_Factory", "src", "llamafactory", "model")
    block_of = official.load(folder, "adaptive_moe_utils").CustomMixtralSparseMoeBlock
    official.write([official.decided(lambda g: vector(block_of, *case, g), 5000 + 100 * i)
                    for i, case in enumerate(CASES)])


main()
