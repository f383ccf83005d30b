#!/usr/bin/env python3
"""Rows of a text mixed by transformers' attention of DeepSeek-V3 and short convolution of LFM2 (5.24, torch 2).

    python make_vectors.py > vectors.json

Widths are odd on purpose; rotary pairs of the attention lie side by side, as in its checkpoints. Everything is computed
in double.
"""
import os
import sys

import torch
from transformers import DeepseekV3Config, Lfm2Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3RotaryEmbedding
from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

TOKENS = 9
YARN = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=8, mscale=1.0,
            mscale_all_dim=0.75)


def tensors(module):
    return {name: official.flat(value) for name, value in module.named_parameters()}


def attention(generator, query_rank, bias, rope):
    config = DeepseekV3Config(
        hidden_size=10, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=query_rank, kv_lora_rank=5,
        qk_nope_head_dim=3, qk_rope_head_dim=6, v_head_dim=7, attention_bias=bias, max_position_embeddings=32,
        rope_parameters=rope, rope_interleave=True, rms_norm_eps=0.5)  # fmt: skip
    config._attn_implementation = "eager"
    module = DeepseekV3Attention(config, 0).eval()
    official.fill(module, 0.5, generator)
    module.double()
    hidden = official.dyadic(1, TOKENS, 10, generator=generator).double()
    positions = torch.arange(TOKENS)[None]
    mask = torch.full((TOKENS, TOKENS), float("-inf"), dtype=torch.float64).triu(1)[None, None]
    angles = DeepseekV3RotaryEmbedding(config)(hidden, positions)
    output, _ = module(hidden_states=hidden, position_embeddings=angles, attention_mask=mask)
    return dict(query_rank=query_rank or 0, bias=bias, rope=rope, scale=module.scaling, weights=tensors(module),
                hidden=official.flat(hidden), output=official.flat(output))


def convolution(generator, taps, bias):
    module = Lfm2ShortConv(Lfm2Config(hidden_size=7, conv_L_cache=taps, conv_bias=bias, num_hidden_layers=1,
                                      layer_types=["conv"]), 0).eval()
    official.fill(module, 0.5, generator)
    module.double()
    hidden = official.dyadic(1, TOKENS, 7, generator=generator).double()
    output = module.slow_forward(hidden) if hasattr(module, "slow_forward") else module(hidden)
    return dict(taps=taps, bias=bias, weights=tensors(module), hidden=official.flat(hidden),
                output=official.flat(output))


with torch.no_grad():
    generator = torch.Generator().manual_seed(8)
    plain = dict(rope_type="default", rope_theta=100.0)
    official.write(dict(
        attention=[attention(generator, None, False, plain), attention(generator, 4, True, plain),
                   attention(generator, 4, False, YARN)],
        convolution=[convolution(generator, 3, False), convolution(generator, 4, True)]))
