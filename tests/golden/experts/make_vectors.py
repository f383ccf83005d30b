"""Writes gpt_oss.txt: one small block of gpt-oss experts, its input and its output as transformers computes it.

Run with transformers 5 and torch (CPU):  python make_vectors.py
A line "name count" is followed by a line of that many numbers, in the layout of the model: gate_up_proj is
(experts, hidden, 2 ffn), gate and up in turn; down_proj is (experts, ffn, hidden).
"""

import pathlib

import torch
from transformers import GptOssConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts

HIDDEN, FFN, EXPERTS, TOKENS, TOP_K = 10, 7, 3, 6, 2

torch.manual_seed(20)
config = GptOssConfig(hidden_size=HIDDEN, intermediate_size=FFN, num_local_experts=EXPERTS, num_experts_per_tok=TOP_K)
config._experts_implementation = "eager"
experts = GptOssExperts(config).to(torch.float64)
with torch.no_grad():
    for parameter in experts.parameters():
        parameter.copy_(torch.randn(parameter.shape).to(torch.float64))

x = (2.5 * torch.randn(TOKENS, HIDDEN)).to(torch.float64)  # large enough for both clamps
ids = torch.stack([torch.randperm(EXPERTS)[:TOP_K] for _ in range(TOKENS)])
weights = torch.rand(TOKENS, TOP_K).to(torch.float64)
with torch.no_grad():
    y = experts(x, ids, weights)
    gate_up = torch.einsum("th,ehf->tef", x, experts.gate_up_proj) + experts.gate_up_proj_bias
assert (gate_up[..., 0::2] > 7).any() and (gate_up[..., 1::2].abs() > 7).any()

with open(pathlib.Path(__file__).with_name("gpt_oss.txt"), "w") as file:
    for name, tensor in {
        "sizes": torch.tensor([HIDDEN, FFN, EXPERTS, TOKENS, TOP_K]),
        "gate_up_proj": experts.gate_up_proj,
        "gate_up_proj_bias": experts.gate_up_proj_bias,
        "down_proj": experts.down_proj,
        "down_proj_bias": experts.down_proj_bias,
        "x": x,
        "ids": ids,
        "weights": weights,
        "y": y,
    }.items():
        numbers = tensor.detach().flatten().tolist()
        print(name, len(numbers), file=file)
        print(*(f"{n:.9g}" if isinstance(n, float) else n for n in numbers), file=file)
