#!/usr/bin/env python3
"""Outputs of the linear layer with LoRA experts of AdaMoE's exp_1 (MoLA with null experts).

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is CengZihao/AdaMoE at 180f1227fbb3. Its file needs peft (0.21 here) and names that peft no longer has: they are
stood in for, which is construction. It takes ids 0 to 3 for the true experts, so there are 4.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

IN, OUT, TRUE, TOKENS = 10, 7, 4, 8
CASES = [(0, 2, 3, 6), (4, 3, 2, 3), (1, 1, 5, 16)]  # null experts, k, rank, alpha


def vector(module, nulls, k, rank, alpha, generator):
    layer = module.Linear_MoE("a", IN, OUT, r=[rank], lora_alpha=alpha, number_experts=[TRUE + nulls], top_k=[k],
                              init_lora_weights=False)
    official.fill(layer, 0.6, generator)
    hidden = official.dyadic(1, TOKENS, IN, generator=generator)
    with torch.no_grad():
        y, logits = layer(hidden)
    return {
        "nulls": nulls, "k": k, "rank": rank, "scale": layer.scaling["a"],
        "margin": official.margin(logits.softmax(-1), k),
        "base": official.flat(layer.weight), "bias": official.flat(layer.bias),
        "gate": official.flat(layer.router["router"].weight),
        "a": [official.flat(layer.lora_A[f"a_{e}"].weight) for e in range(TRUE)],
        "b": [official.flat(layer.lora_B[f"a_{e}"].weight) for e in range(TRUE)],
        "hidden": official.flat(hidden), "y": official.flat(y),
    }


def main():
    import peft
    import peft.utils
    official.lend("peft.utils", PeftConfig=peft.PeftConfig, COMMON_LAYERS_PATTERN=[], ModulesToSaveWrapper=None,
                  TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING={}, _freeze_adapter=None, _get_submodules=None,
                  transpose=lambda weight, fan_in_fan_out: weight.T if fan_in_fan_out else weight)
    module = official.load(os.path.join(sys.argv[1], "exp_1", "src"), "mola_lora_hacked")
    official.write([official.decided(lambda g: vector(module, *case, g), 1400 + 100 * i)
                    for i, case in enumerate(CASES)])


main()
