#!/usr/bin/env python3
"""Weights that MC-MoE's online dynamic pruning leaves of two experts a token.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is Aaronhuang-778/MC-MoE at 7aa062c251f9; forward of DynamicRankMixtralSparseMoeBlockWrapper runs unchanged. What
its file imports beside torch is not there. Its experts give back their own unit vector times their weight, so that the
layer's output is the matrix of weights; its gate gives back its input, so hidden states are logits.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

EXPERTS, TOKENS, HEADS = 8, 8, 3


class Unit(torch.nn.Module):
    def __init__(self, place):
        super().__init__()
        self.unit = torch.nn.functional.one_hot(torch.tensor(place), EXPERTS).float()

    def forward(self, x, weights):
        return self.unit.expand(len(x), -1) * weights


class Gate(torch.nn.Identity):
    device = torch.device("cpu")


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.num_experts, self.top_k = EXPERTS, 2
        self.gate, self.experts = Gate(), torch.nn.ModuleList([Unit(e) for e in range(EXPERTS)])


def vector(wrapper, beta, exempt, tokens, generator):
    layer = wrapper.DynamicRankMixtralSparseMoeBlockWrapper.__new__(wrapper.DynamicRankMixtralSparseMoeBlockWrapper)
    torch.nn.Module.__init__(layer)
    layer.model, layer.num_experts = Block(), EXPERTS
    layer.cache_space = wrapper.CacheDataset()
    layer.cache_logits = layer.cache_X = layer.cache_Z = False
    layer.block_index = layer.loss_index = 0
    layer.block_range, layer.beta, layer.tau_l, layer.tau_h = 20, beta, 0.0, exempt
    x = official.dyadic(1, tokens, EXPERTS, scale=1.5, generator=generator)
    attention = torch.rand(1, HEADS, tokens, tokens, generator=generator).tril()
    kept, topk = [], torch.topk

    def recorded(*args, largest=True, **options):  # which tokens are important
        result = topk(*args, largest=largest, **options)
        if args[0].dim() == 1 and largest:
            kept.extend(result[1].tolist())
        return result

    torch.topk = recorded
    y, logits = layer(x, attention)
    torch.topk = topk
    scores = logits.softmax(dim=-1).sort(dim=-1, descending=True).values
    return {"beta": beta, "logits": official.flat(logits), "exempt": [int(t in kept) for t in range(tokens)],
            "weights": official.flat(y), "margin": min(official.margin(logits, 2),
                                                       (scores[:, 1] - beta * scores[:, 0]).abs().min().item())}


def main():
    official.absent("matplotlib", "matplotlib.pyplot", "transformers.models.mixtral.modeling_mixtral",
                    "transformers.models.mixtral.configuration_mixtral", "data.cachedata", "utils.normal_quantizer")
    wrapper = official.load(os.path.join(sys.argv[1], "models"), "wrapper", "models")
    official.write([official.decided(lambda g: vector(wrapper, *case, g), 18000 + 100 * i)
                    for i, case in enumerate([(0.5, 0.0, TOKENS), (0.75, 0.3, TOKENS), (1.0, 0.5, TOKENS)])])


main()
