#!/usr/bin/env python3
"""Inverse frequencies and attention factors by transformers' modeling_rope_utils (5.24), for configurations as they are
written in config.json.

    python make_vectors.py > vectors.json

The functions compute in float32; here they are lent a torch whose float is double, which changes no formula. PhiMoE's
factors for cosines and sines come from its own rotary module, whose frequencies are left alone: it never asks for those
of long texts (PhimoeRotaryEmbedding.forward passes no seq_len), which Microsoft's own code does.
"""
import os
import sys
import types
from unittest import mock

import torch
import transformers.modeling_rope_utils as rope_utils
from transformers import LlamaConfig, PhimoeConfig
from transformers.models.phimoe.modeling_phimoe import PhimoeRotaryEmbedding

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

YARN = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=32)
LLAMA3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
LONG = dict(rope_type="longrope", rope_theta=1e4, original_max_position_embeddings=32)


def lists(half):
    return dict(short_factor=[1.0 + 0.0625 * i for i in range(half)],
                long_factor=[1.5 + 0.75 * i for i in range(half)])


# name, head_dim, max_position_embeddings, context (None: max_position_embeddings), rope_parameters
CASES = [
    ("default", 24, 64, None, dict(rope_type="default", rope_theta=1e4)),
    ("default, 14 channels", 14, 64, None, dict(rope_type="default", rope_theta=1e6)),
    ("default, partial", 24, 64, None, dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.25)),
    ("linear", 14, 64, None, dict(rope_type="linear", rope_theta=1e4, factor=2.5)),
    ("linear, partial", 24, 64, None,
     dict(rope_type="linear", rope_theta=1e4, factor=2.5, partial_rotary_factor=0.59)),  # 14.16 channels
    ("linear by 1", 24, 64, None, dict(rope_type="linear", rope_theta=1e4, factor=1)),
    ("dynamic within the context", 24, 64, 64, dict(rope_type="dynamic", rope_theta=1e4, factor=2.0)),
    ("dynamic beyond the context", 24, 64, 100, dict(rope_type="dynamic", rope_theta=1e4, factor=2.0)),
    ("dynamic by 1 beyond the context", 14, 64, 100, dict(rope_type="dynamic", rope_theta=1e4, factor=1.0)),
    ("dynamic, partial", 24, 64, 65, dict(rope_type="dynamic", rope_theta=1e6, factor=3.5, partial_rotary_factor=0.5)),
    ("llama3", 24, 512, None, LLAMA3),
    ("llama3, 128 channels as Llama 3.1", 128, 131072, None, LLAMA3 | dict(original_max_position_embeddings=8192)),
    ("llama3 by 1", 14, 512, None, LLAMA3 | dict(factor=1.0)),
    ("llama3, partial, all slow", 24, 512, None,
     LLAMA3 | dict(original_max_position_embeddings=2, partial_rotary_factor=0.5)),
    ("yarn", 24, 128, None, YARN),
    ("yarn, 14 channels", 14, 128, None, YARN | dict(beta_fast=4, beta_slow=0.5)),
    ("yarn as Qwen3's cards say", 128, 40960, None,
     dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768)),
    ("yarn as gpt-oss", 64, 131072, None,
     dict(rope_type="yarn", rope_theta=150000, factor=32.0, beta_fast=32.0, beta_slow=1.0, truncate=False,
          original_max_position_embeddings=4096)),
    ("yarn as DeepSeek-V2-Lite", 64, 163840, None,
     YARN | dict(factor=40, mscale=0.707, mscale_all_dim=0.707, original_max_position_embeddings=4096)),
    ("yarn, both mscales", 24, 128, None, YARN | dict(mscale=1.25, mscale_all_dim=0.5)),
    ("yarn, one mscale", 24, 128, None, YARN | dict(mscale=1.25)),
    ("yarn, the other mscale", 24, 128, None, YARN | dict(mscale_all_dim=1.25)),
    ("yarn, an mscale of 0", 24, 128, None, YARN | dict(mscale=0, mscale_all_dim=1.25)),
    ("yarn as Mellum", 128, 131072, None,
     dict(rope_type="yarn", rope_theta=5e5, factor=16.0, original_max_position_embeddings=8192, beta_fast=32.0,
          beta_slow=1.0, attention_factor=1.2772588722239782)),
    ("yarn, explicit attention factor beside mscales", 24, 128, None,
     YARN | dict(attention_factor=0.75, mscale=1.25, mscale_all_dim=0.5)),
    ("yarn by 1", 24, 128, None, YARN | dict(factor=1.0)),
    ("yarn, ramp of no width", 24, 1024, None,
     YARN | dict(beta_fast=3.0, beta_slow=3.0, truncate=False, original_max_position_embeddings=256)),
    ("yarn, ramp of one pair", 24, 1024, None,
     YARN | dict(beta_fast=3.0, beta_slow=3.0, original_max_position_embeddings=256)),
    ("yarn, ramp of no width at the first pair", 24, 128, None,
     YARN | dict(original_max_position_embeddings=4)),
    ("yarn, ramp that ends before it begins", 24, 1 << 24, None,
     YARN | dict(rope_theta=4.0, original_max_position_embeddings=1 << 20)),
    ("yarn, partial", 24, 128, None, YARN | dict(partial_rotary_factor=0.5, truncate=False)),
    ("yarn, no factor: the ratio of the contexts", 24, 160, None, YARN | dict(factor=None)),
    ("longrope, short", 24, 128, 32, LONG | lists(12)),
    ("longrope, long", 24, 128, 33, LONG | lists(12)),
    ("longrope, factor given", 14, 128, 128, LONG | lists(7) | dict(factor=2.0)),
    ("longrope, attention factor given", 14, 128, 20, LONG | lists(7) | dict(factor=2.0, attention_factor=1.5)),
    ("longrope, partial", 24, 128, 128, LONG | lists(6) | dict(partial_rotary_factor=0.5)),
    ("longrope, no longer than before", 14, 32, 32, LONG | lists(7)),
    ("longrope as PhiMoE, short", 24, 128, 32, LONG | lists(12) | dict(short_mscale=1.125, long_mscale=1.25)),
    ("longrope as PhiMoE, long", 24, 128, 33, LONG | lists(12) | dict(short_mscale=1.125, long_mscale=1.25)),
]


class DoubleTorch(types.ModuleType):
    """torch, but for what its names for float mean."""
    float = float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def vector(name, head_dim, max_positions, context, parameters):
    common = dict(hidden_size=4 * head_dim, num_attention_heads=4, head_dim=head_dim,
                  max_position_embeddings=max_positions, rope_parameters=dict(parameters))
    config = LlamaConfig(**common)
    kind = parameters["rope_type"]
    if kind == "default":
        width = int(head_dim * parameters.get("partial_rotary_factor", 1.0))
        inverse = 1.0 / parameters["rope_theta"] ** (torch.arange(0, width, 2).double() / width)
        factor = 1.0
    else:
        with mock.patch.object(rope_utils, "torch", DoubleTorch("torch")), \
             mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            inverse, factor = rope_utils.ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=context)
    if "short_mscale" in parameters:
        module = PhimoeRotaryEmbedding(PhimoeConfig(**common))
        cosines, _ = module(torch.ones(1), torch.tensor([[0, context - 1]]))
        factor = cosines[0, 0, 0].item()
    assert inverse.dtype == torch.float64
    return dict(name=name, head_dim=head_dim, max_position_embeddings=max_positions, context=context or max_positions,
                rope_parameters=parameters, inverse_frequencies=official.flat(inverse), attention_factor=factor)


official.write([vector(*case) for case in CASES])
