"""Routes of random tokens by transformers' own router modules, as hexadecimal floats in vectors.hpp beside this file.

Odd shapes: 5 and 7 experts, k 3, hidden size 26. Every token's keys are at least 1e-4 apart, so that rounding decides no id.
usage: make_vectors.py > vectors.hpp        (transformers 5.24, torch 2)
"""

import re

import torch
from transformers import (
    GptOssConfig,
    GraniteMoeConfig,
    Llama4TextConfig,
    MixtralConfig,
    OlmoeConfig,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
    SwitchTransformersConfig,
)
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter
from transformers.models.granitemoe.modeling_granitemoe import GraniteMoeTopKRouter
from transformers.models.llama4.modeling_llama4 import Llama4Router
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter
from transformers.models.olmoe.modeling_olmoe import OlmoeTopKRouter
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeTopKRouter
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter
from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersTop1Router

HIDDEN, K, TOKENS = 26, 3, 6


def local(config, experts, **more):
    return config(hidden_size=HIDDEN, num_local_experts=experts, num_experts_per_tok=K, **more)


def counted(config, experts, **more):
    return config(hidden_size=HIDDEN, num_experts=experts, num_experts_per_tok=K, **more)


def switch(experts):
    return SwitchTransformersConfig(d_model=HIDDEN, num_experts=experts, expert_capacity=1)


# name, number of experts, module
CASES = [
    ("switch", 5, SwitchTransformersTop1Router(switch(5))),
    ("mixtral", 5, MixtralTopKRouter(local(MixtralConfig, 5))),
    ("mixtral", 7, MixtralTopKRouter(local(MixtralConfig, 7))),
    ("olmoe", 7, OlmoeTopKRouter(counted(OlmoeConfig, 7))),
    ("qwen2_moe", 7, Qwen2MoeTopKRouter(counted(Qwen2MoeConfig, 7))),
    ("qwen3_moe", 7, Qwen3MoeTopKRouter(counted(Qwen3MoeConfig, 7, norm_topk_prob=True))),
    ("granite", 5, GraniteMoeTopKRouter(local(GraniteMoeConfig, 5))),
    ("gpt_oss", 7, GptOssTopKRouter(local(GptOssConfig, 7))),
    ("llama4", 7, Llama4Router(local(Llama4TextConfig, 7))),
]


def literal(value):
    return re.sub(r"\.?0*p", "p", float(value).hex()) + "f"


def floats(tensor):
    return "{" + ", ".join(literal(v) for v in tensor.flatten()) + "}"


def random(*shape, scale, generator):
    """Multiples of 1/64: short to write down and exact."""
    return (torch.randn(*shape, generator=generator) * scale * 64).round() / 64


def integers(tensor):
    return "{" + ", ".join(str(int(v)) for v in tensor.flatten()) + "}"


def route(name, module, x):
    """(expert ids, weights), one row per token; no id is -1."""
    if name == "switch":
        dispatch, probability, _ = module(x[None])
        kept = dispatch[0].sum(-1) > 0  # the router also drops what is beyond the capacity
        return torch.where(kept, dispatch[0].argmax(-1), -1)[:, None], probability[0]
    if name == "llama4":
        scores, logits = module(x)
        ids = logits.topk(K, dim=-1).indices
        return ids, scores.gather(1, ids)
    first, second, third = module(x)
    return (third, second) if third.dtype == torch.int64 else (second, third)


def well_separated(logits):
    ordered = logits.sort(dim=-1).values
    return bool(((ordered[:, 1:] - ordered[:, :-1]) > 1e-4).all())


@torch.no_grad()
def main():
    print("// Made by make_vectors.py from the router modules of transformers. Numbers only.")
    print("#pragma once\n\n#include <vector>\n")
    print("struct GoldenRoutes {")
    print("  const char* name;\n  int num_experts;\n  int k;")
    print("  std::vector<float> gate, bias, hidden;  // (num_experts, 26), (num_experts) or empty, (6, 26)")
    print("  std::vector<int> experts;               // (6, k), -1: dropped")
    print("  std::vector<float> weights;             // (6, k)\n};\n")
    print("// clang-format off\ninline const std::vector<GoldenRoutes> golden_routes = {")
    generator = torch.Generator().manual_seed(20)
    for name, experts, module in CASES:
        module = module.float().eval()
        gate, bias = random(experts, HIDDEN, scale=0.3, generator=generator), None
        for parameter_name, parameter in module.named_parameters():
            if parameter.shape == gate.shape:
                parameter.copy_(gate)
            else:
                assert parameter_name == "bias", parameter_name
                bias = random(experts, scale=0.3, generator=generator)
                parameter.copy_(bias)
        x = random(TOKENS, HIDDEN, scale=1.0, generator=generator)
        assert well_separated(x @ gate.T + (0 if bias is None else bias)), name
        ids, weights = route(name, module, x)
        print(f'  {{"{name}", {experts}, {ids.shape[1]}, {floats(gate)},')
        print(f"   {'{}' if bias is None else floats(bias)},\n   {floats(x)},")
        print(f"   {integers(ids)},\n   {floats(weights)}}},")
    print("};\n// clang-format on")


main()
