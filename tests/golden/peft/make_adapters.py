#!/usr/bin/env python3
"""Tiny random adapters as PEFT saves them, and what its layers compute with them.

    python make_adapters.py FOLDER

writes FOLDER/<case>/adapter_config.json and adapter_model.safetensors and FOLDER/vectors.json. Made with peft 0.21.2, torch
2.15 and safetensors 0.8.
"""
import json
import os
import sys

import peft
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

TOKENS = 4
CASES = {
    "plain": dict(r=3, lora_alpha=7, target_modules=["q_proj", "down_proj"]),
    "patterns": dict(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"], use_rslora=True,
                     rank_pattern={"layers.1.q_proj": 5}, alpha_pattern={"down_proj": 1, "layers.0.q_proj": 3}),
    "bfloat16": dict(r=4, lora_alpha=8, target_modules=r".*layers\.0\.(q|down)_proj"),
}


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = torch.nn.Linear(10, 7)
        self.down_proj = torch.nn.Linear(5, 10, bias=False)
        self.up_proj = torch.nn.Linear(10, 5, bias=False)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([Layer(), Layer()])


def make(name, settings, folder, generator):
    model = Model()
    official.fill(model, 0.5, generator)
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings))
    lora = [p for n, p in adapted.named_parameters() if "lora_" in n]
    with torch.no_grad():
        for parameter in lora:
            parameter.copy_(official.dyadic(*parameter.shape, scale=0.5, generator=generator))
        if name == "bfloat16":
            for parameter in lora:
                parameter.data = parameter.data.bfloat16()
        adapted.save_pretrained(os.path.join(folder, name))
        os.remove(os.path.join(folder, name, "README.md"))
        for parameter in lora:
            parameter.data = parameter.data.float()  # as PEFT does when it loads
        modules = {}
        for key, layer in adapted.base_model.model.named_modules():
            if not isinstance(layer, peft.tuners.lora.Linear):
                continue
            hidden = official.dyadic(TOKENS, layer.in_features, generator=generator)
            modules[key] = {
                "weight": official.flat(layer.base_layer.weight),
                "bias": [] if layer.base_layer.bias is None else official.flat(layer.base_layer.bias),
                "rank": layer.r["default"], "scale": layer.scaling["default"], "hidden": official.flat(hidden),
                "y": official.flat(layer(hidden)),
            }
    return modules


def main():
    generator = torch.Generator().manual_seed(41)
    cases = {name: make(name, settings, sys.argv[1], generator) for name, settings in CASES.items()}
    with open(os.path.join(sys.argv[1], "vectors.json"), "w") as file:
        json.dump(cases, file, separators=(",", ":"))
        file.write("\n")


main()
