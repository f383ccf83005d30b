#!/usr/bin/env python3
"""Router scores and outputs of BlockFFN's Hugging Face module (dense path), in float64.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is thunlp/BlockFFN at 69055457bd91. The file imports libraries that BlockMLP does not use (fmoe, megablocks, tree,
its CUDA kernel) and names that transformers 5 no longer has: they are stood in for, which is construction.
"""
import os
import sys
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, FFN, EXPERTS, TOKENS, EPS = 8, 3, 7, 6, 1e-5


def vector(model, negative_gain, generator):
    config = types.SimpleNamespace(hidden_size=HIDDEN, expert_size=FFN, num_experts=EXPERTS, ffn_type="block",
                                   block_implementation="torch", hidden_act="silu", router_act="relu",
                                   norm_after_router="rms", norm_scale=1.0, rms_norm_eps=EPS, pretraining_tp=1)
    block = model.BlockMLP(config, 0)
    official.fill(block, 0.6, generator)
    with torch.no_grad():
        if not negative_gain:
            block.router_norm.weight.abs_()
        hidden = official.dyadic(1, TOKENS, HIDDEN, generator=generator)
        hidden[0, 0] = 0.0  # nobody is active
        scores = []
        block.router_norm.register_forward_hook(lambda module, args, result: scores.append(result))
        y = block(hidden)
    logits = hidden[0] @ block.router_proj.weight.T
    return {
        "eps": EPS, "margin": logits[1:].abs().min().item(),
        "gate": official.flat(block.router_proj.weight), "gain": official.flat(block.router_norm.weight),
        "up": [official.flat(w) for w in block.up_proj], "down": [official.flat(w) for w in block.down_proj],
        "hidden": official.flat(hidden), "scores": official.flat(scores[0]), "y": official.flat(y),
    }


def main():
    import transformers.modeling_utils  # noqa: F401  looks for the libraries below where they are not stood in for
    official.absent("fmoe", "fmoe.linear", "fmoe.layers", "megablocks", "tree", "blockffn_kernel",
                    "blockffn_official.configuration_minicpm")
    official.absent("transformers.modeling_attn_mask_utils")
    official.lend("transformers.utils.import_utils", is_torch_fx_available=lambda: False)
    folder = os.path.join(sys.argv[1], "pretrain", "bmt_to_hf")
    model = official.load(folder, "modeling_minicpm", "blockffn_official")
    torch.set_default_dtype(torch.float64)
    official.write([official.decided(lambda g: vector(model, negative, g), 9000 + 100 * i)
                    for i, negative in enumerate([False, True])])


main()
