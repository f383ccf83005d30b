"""Tiny random checkpoints of every family, and what transformers computes with them.

usage: make_families.py FOLDER [NAME ...]     (needs torch, transformers 5.24, safetensors, numpy; writes FOLDER/NAME/*)

A checkpoint is config.json and tensors.json, whose formulas (reference.py) give the weights; expected.json has tokens,
logits and routes of float32 passes over them, one whole pass without cache for every greedy token:
  prompt, greedy, context_size (0: the model's)
  logits         of every position of the prompt
  logits_last    of the last greedy token
  routes         layer, and for every position of the prompt experts in order of selection and their weights
  weights_hash   FNV-1a over the data of all tensors
  min_margin     between the best two logits of any step
  nearest_route  between the key of a chosen expert and the best of the rest
  beyond         a text longer than the original length of longrope or dynamic, in a session of its size: the factors of
                 that length hold for all positions. transformers' decoding with a cache is another function there.
Odd on purpose: head_dim 24 or 14, 5 or 11 experts, 3 query heads to a KV head, a vocabulary of 131 or 149, windows
shorter than the prompt, layers of at least two kinds. A seed whose choices are so near each other that rounding could
decide is replaced by the next.
"""

import json
import pathlib
import shutil
import sys

import numpy
import torch
from reference import (
    OLDER_GRANITE_NAMES, Reference, as_transformers_4, entries_of, hash_of_weights, outputs, quantized, refilled,
    renamed, sharded, write_weights,
)  # fmt: skip

PROMPT = 24
STEPS = 96
SIGNIFICANT = 7

COMMON = dict(vocab_size=131, bos_token_id=1, eos_token_id=None, pad_token_id=None, max_position_embeddings=160)
WIDE = dict(hidden_size=42, num_attention_heads=6, num_key_value_heads=2)
NARROW = dict(hidden_size=27, num_attention_heads=3, num_key_value_heads=1)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
YARN = dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=40)
LATENT = dict(hidden_size=36, num_attention_heads=3, num_key_value_heads=3, kv_lora_rank=20, qk_nope_head_dim=14,
              qk_rope_head_dim=10, v_head_dim=18)  # fmt: skip
DEEPSEEK_KEYS = dict(ep_size=1, aux_loss_alpha=0.001, seq_aux=True, moe_layer_freq=1, pretraining_tp=1)
GRANITE = dict(embedding_multiplier=3.0, attention_multiplier=0.09375, residual_multiplier=0.4375, logits_scaling=1.5)


class Checkpoint:
    """config: of the class; keys: further ones in config.json, which transformers does not read; v4: as transformers 4
    wrote it; respell: other names of keys; stacked: experts as transformers holds them in memory; names: other ones
    on disk; extra: tensors that no layer of the model reads."""

    def __init__(self, model_type, dtype, config, *, keys={}, respell={}, v4=False, stacked=False, shards=1,
                 names={}, extra={}, quantized=None, context_size=0, beyond=0):  # fmt: skip
        self.__dict__.update({key: value for key, value in locals().items() if key != "self"})
        self.config = COMMON | config

    def write(self, folder, seed):
        config, entries = entries_of(self.config, self.model_type, self.dtype, seed, not self.stacked)
        if self.extra:
            entries += [{"name": name, "dtype": self.dtype, "shape": shape} for name, shape in self.extra.items()]
            entries = refilled(entries, config, seed)
        if self.quantized:
            entries = quantized(self.quantized, entries, config, seed)
        for entry in entries:
            entry["name"] = renamed(entry["name"], self.names)
        config = as_transformers_4(config) if self.v4 else config
        config = {self.respell.get(key, key): value for key, value in config.items()}
        files = sharded(entries, self.shards)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config | self.keys, indent=1, sort_keys=True) + "\n")
        write_weights(folder, files)
        (folder / "tensors.json").write_text(tensors_json(files))
        return hash_of_weights(files)


def tensors_json(files):
    line = lambda entry: "   " + json.dumps(entry)
    part = lambda name, entries: f' {{"name": "{name}", "tensors": [\n' + ",\n".join(map(line, entries)) + "]}"
    return '{"files": [\n' + ",\n".join(part(*file) for file in files) + "]}\n"


ODD = dict(num_local_experts=5, num_experts_per_tok=3)

CHECKPOINTS = {
    # llama: dense; separate head, biases and llama3 angles; tied and linear; dynamic beyond its length.
    "llama_f32": Checkpoint("llama", "F32", WIDE | dict(
        head_dim=14, intermediate_size=50, num_hidden_layers=3, attention_bias=True, tie_word_embeddings=False,
        rms_norm_eps=1e-2, rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                                high_freq_factor=4.0, original_max_position_embeddings=64))),
    "llama_tied_bf16": Checkpoint("llama", "BF16", NARROW | dict(
        head_dim=24, intermediate_size=37, num_hidden_layers=3, tie_word_embeddings=True, vocab_size=149,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)), v4=True, shards=3),
    "llama_dynamic_f16": Checkpoint("llama", "F16", NARROW | dict(
        head_dim=24, intermediate_size=37, num_hidden_layers=2, max_position_embeddings=128,
        rope_parameters=dict(rope_type="dynamic", rope_theta=1000.0, factor=2.0)), beyond=150),
    # mixtral: w1, w2, w3 under block_sparse_moe and a window; names of transformers 5.
    "mixtral_f32": Checkpoint("mixtral", "F32", WIDE | ODD | dict(
        head_dim=14, intermediate_size=20, num_hidden_layers=3, sliding_window=7, rms_norm_eps=1e-2,
        rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "mixtral_stacked_bf16": Checkpoint("mixtral", "BF16", NARROW | dict(
        head_dim=24, intermediate_size=19, num_hidden_layers=3, num_local_experts=11, num_experts_per_tok=3,
        vocab_size=149, tie_word_embeddings=True, rope_parameters=PLAIN), stacked=True, shards=2, v4=True),
    # olmoe: norms over all heads, clipped or not.
    "olmoe_f32": Checkpoint("olmoe", "F32", dict(
        hidden_size=42, num_attention_heads=3, num_key_value_heads=1, intermediate_size=20, num_hidden_layers=3,
        num_experts=11, num_experts_per_tok=3, clip_qkv=0.75, norm_topk_prob=False, rms_norm_eps=1e-2,
        rope_parameters=PLAIN)),
    "olmoe_bf16": Checkpoint("olmoe", "BF16", dict(
        hidden_size=72, num_attention_heads=3, num_key_value_heads=3, intermediate_size=13, num_hidden_layers=3,
        num_experts=5, num_experts_per_tok=3, norm_topk_prob=True, attention_bias=True, vocab_size=149,
        rope_parameters=dict(rope_type="default", rope_theta=500.0)), v4=True, stacked=True),
    # qwen2_moe: a gated shared expert, biases of q, k, v, dense layers; windows in some layers.
    "qwen2_moe_f32": Checkpoint("qwen2_moe", "F32", dict(
        hidden_size=42, num_attention_heads=3, num_key_value_heads=1, intermediate_size=37, num_hidden_layers=4,
        moe_intermediate_size=20, shared_expert_intermediate_size=29, num_experts=11, num_experts_per_tok=3,
        norm_topk_prob=False, mlp_only_layers=[2], rms_norm_eps=1e-2, use_sliding_window=True, sliding_window=7,
        max_window_layers=3, rope_parameters=PLAIN)),
    "qwen2_moe_bf16": Checkpoint("qwen2_moe", "BF16", dict(
        hidden_size=72, num_attention_heads=3, num_key_value_heads=1, intermediate_size=37, num_hidden_layers=4,
        moe_intermediate_size=20, shared_expert_intermediate_size=17, num_experts=5, num_experts_per_tok=3,
        norm_topk_prob=True, decoder_sparse_step=2, vocab_size=149, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1e6)), v4=True, stacked=True, shards=3),
    # qwen3_moe: YaRN as the model cards say; the rest is in ../models.
    "qwen3_moe_yarn_f32": Checkpoint("qwen3_moe", "F32", WIDE | dict(
        head_dim=24, moe_intermediate_size=20, intermediate_size=36, num_hidden_layers=3, num_experts=11,
        num_experts_per_tok=3, norm_topk_prob=True, mlp_only_layers=[1], rms_norm_eps=1e-2, rope_parameters=YARN)),
    "qwen3_moe_stacked_f16": Checkpoint("qwen3_moe", "F16", NARROW | dict(
        head_dim=14, moe_intermediate_size=13, intermediate_size=36, num_hidden_layers=3, num_experts=11,
        num_experts_per_tok=3, norm_topk_prob=True, mlp_only_layers=[1], attention_bias=True, tie_word_embeddings=True,
        rope_parameters=PLAIN), stacked=True, shards=2),
    "qwen3_moe_yarn_bf16": Checkpoint("qwen3_moe", "BF16", NARROW | dict(
        head_dim=24, moe_intermediate_size=20, intermediate_size=36, num_hidden_layers=3, num_experts=5,
        num_experts_per_tok=3, norm_topk_prob=False, mlp_only_layers=[1], vocab_size=149,
        rope_parameters=YARN | dict(factor=2.5, attention_factor=1.25, beta_fast=16, beta_slow=2)), v4=True),
    "qwen3_moe_int8": Checkpoint("qwen3_moe", "BF16", NARROW | dict(
        head_dim=14, moe_intermediate_size=20, intermediate_size=36, num_hidden_layers=3, num_experts=5,
        num_experts_per_tok=3, norm_topk_prob=True, mlp_only_layers=[1], attention_bias=True, rope_parameters=PLAIN),
        quantized="compressed-tensors"),
    # granitemoe and granitemoeshared: four multipliers, stacked on disk under either names.
    "granitemoe_f32": Checkpoint("granitemoe", "F32", ODD | GRANITE | dict(
        hidden_size=42, num_attention_heads=3, num_key_value_heads=1, intermediate_size=20, num_hidden_layers=3,
        rms_norm_eps=1e-2, tie_word_embeddings=True, rope_parameters=PLAIN)),
    "granitemoe_bf16": Checkpoint("granitemoe", "BF16", GRANITE | dict(
        hidden_size=72, num_attention_heads=3, num_key_value_heads=1, intermediate_size=13, num_hidden_layers=3,
        num_local_experts=11, num_experts_per_tok=3, attention_bias=True, vocab_size=149, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=1.5e6)), v4=True, stacked=True, shards=2),
    "granitemoeshared_f32": Checkpoint("granitemoeshared", "F32", ODD | GRANITE | dict(
        hidden_size=42, num_attention_heads=3, num_key_value_heads=1, intermediate_size=20, num_hidden_layers=3,
        shared_intermediate_size=29, rms_norm_eps=1e-2, tie_word_embeddings=True, rope_parameters=PLAIN)),
    "granitemoeshared_bf16": Checkpoint("granitemoeshared", "BF16", GRANITE | dict(
        hidden_size=72, num_attention_heads=3, num_key_value_heads=1, intermediate_size=13, num_hidden_layers=3,
        shared_intermediate_size=17, num_local_experts=11, num_experts_per_tok=3, vocab_size=149,
        tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e7)), v4=True, shards=2),
    # granitemoe_swa: sinks in all layers, windows, a base of angles for every layer or none; the older names, too.
    "granitemoe_swa_f32": Checkpoint("granitemoe_swa", "F32", ODD | GRANITE | dict(
        hidden_size=42, num_attention_heads=3, num_key_value_heads=1, intermediate_size=20, num_hidden_layers=4,
        shared_intermediate_size=29, sliding_window=7, rms_norm_eps=1e-2, tie_word_embeddings=True,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        layer_rope_theta=[10000.0, 500.0, 0.0, 0.0], rope_parameters=PLAIN)),
    "granitemoe_swa_bf16": Checkpoint("granitemoe_swa", "BF16", GRANITE | dict(
        hidden_size=72, num_attention_heads=3, num_key_value_heads=1, intermediate_size=13, num_hidden_layers=3,
        shared_intermediate_size=0, num_local_experts=11, num_experts_per_tok=3, vocab_size=149, sliding_window=5,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"], tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=500.0)), shards=2,
        names=OLDER_GRANITE_NAMES),
    # lfm2_moe: convolutions among attentions, dense first layers, biased sigmoid routing.
    "lfm2_moe_f32": Checkpoint("lfm2_moe", "F32", dict(
        hidden_size=42, num_attention_heads=3, num_key_value_heads=1, intermediate_size=37, moe_intermediate_size=20,
        num_hidden_layers=5, num_dense_layers=2, num_experts=11, num_experts_per_tok=3, conv_L_cache=3, conv_bias=False,
        layer_types=["conv", "full_attention", "conv", "full_attention", "conv"], norm_eps=1e-2,
        routed_scaling_factor=1.0, rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "lfm2_moe_bf16": Checkpoint("lfm2_moe", "BF16", dict(
        hidden_size=72, num_attention_heads=3, num_key_value_heads=1, intermediate_size=37, moe_intermediate_size=13,
        num_hidden_layers=4, num_dense_layers=1, num_experts=5, num_experts_per_tok=3, conv_L_cache=5, conv_bias=True,
        layer_types=["conv", "conv", "full_attention", "conv"], norm_topk_prob=False, routed_scaling_factor=1.5,
        vocab_size=149, tie_word_embeddings=False, rope_parameters=PLAIN), stacked=True, shards=3, v4=True,
        respell=dict(tie_word_embeddings="tie_embedding")),
    # mellum: YaRN in full layers, plain angles of another base in those with a window.
    "mellum_f32": Checkpoint("mellum", "F32", WIDE | dict(
        head_dim=14, intermediate_size=37, moe_intermediate_size=20, num_hidden_layers=4, num_experts=11,
        num_experts_per_tok=3, sliding_window=7, rms_norm_eps=1e-2, norm_topk_prob=True,
        layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters=dict(full_attention=YARN | dict(attention_factor=1.25),
                             sliding_attention=dict(rope_type="default", rope_theta=500.0))),
        keys=dict(use_sliding_window=True)),
    "mellum_bf16": Checkpoint("mellum", "BF16", NARROW | dict(
        head_dim=24, intermediate_size=37, moe_intermediate_size=20, num_hidden_layers=4, num_experts=5,
        num_experts_per_tok=3, sliding_window=5, norm_topk_prob=False, attention_bias=True, vocab_size=149,
        layer_types=["full_attention", "sliding_attention", "full_attention", "sliding_attention"],
        mlp_layer_types=["sparse", "dense", "sparse", "sparse"],
        rope_parameters=dict(full_attention=YARN | dict(factor=2.5),
                             sliding_attention=dict(rope_type="default", rope_theta=10000.0))), stacked=True, shards=2,
        respell=dict(num_local_experts="num_experts"), extra={"mtp.layers.0.mlp.gate.weight": [5, 27]}),
    # ernie4_5_moe: biased softmax, interleaved angles, shared experts, the layers with experts by three numbers.
    "ernie4_5_moe_f32": Checkpoint("ernie4_5_moe", "F32", dict(
        hidden_size=42, num_attention_heads=3, num_key_value_heads=1, intermediate_size=37, moe_intermediate_size=20,
        num_hidden_layers=4, moe_num_experts=11, moe_k=3, moe_num_shared_experts=2, moe_layer_start_index=1,
        moe_layer_end_index=2, rms_norm_eps=1e-2, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=5e5))),
    "ernie4_5_moe_bf16": Checkpoint("ernie4_5_moe", "BF16", dict(
        hidden_size=72, num_attention_heads=3, num_key_value_heads=1, intermediate_size=37, moe_intermediate_size=13,
        num_hidden_layers=4, moe_num_experts=5, moe_k=3, moe_num_shared_experts=1, moe_layer_start_index=0,
        moe_layer_interval=2, moe_norm_min=0.5, use_bias=True, vocab_size=149, tie_word_embeddings=False,
        rope_parameters=PLAIN), stacked=True, shards=3, v4=True, extra={"model.mtp_linear_proj.0.weight": [72, 144]}),
    # deepseek_v3: as Moonlight; groups, q-LoRA and YaRN, with layers for predicting further tokens; FP8.
    "deepseek_v3_moonlight_f32": Checkpoint("deepseek_v3", "F32", LATENT | dict(
        intermediate_size=37, moe_intermediate_size=20, num_hidden_layers=3, first_k_dense_replace=1, q_lora_rank=None,
        n_routed_experts=11, num_experts_per_tok=3, n_shared_experts=2, n_group=1, topk_group=1,
        routed_scaling_factor=2.446, rms_norm_eps=1e-2, rope_parameters=dict(rope_type="default", rope_theta=50000.0)),
        keys=DEEPSEEK_KEYS | dict(scoring_func="sigmoid", topk_method="noaux_tc", num_nextn_predict_layers=0)),
    "deepseek_v3_groups_bf16": Checkpoint("deepseek_v3", "BF16", LATENT | dict(
        intermediate_size=37, moe_intermediate_size=13, num_hidden_layers=3, first_k_dense_replace=1, q_lora_rank=22,
        n_routed_experts=15, num_experts_per_tok=3, n_shared_experts=1, n_group=5, topk_group=2, vocab_size=149,
        routed_scaling_factor=2.5, attention_bias=True,
        rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=1.0, beta_fast=32, beta_slow=1)),
        keys=DEEPSEEK_KEYS | dict(scoring_func="sigmoid", topk_method="noaux_tc"), v4=True, stacked=True, shards=2,
        extra={"model.layers.3.enorm.weight": [36], "model.layers.3.eh_proj.weight": [36, 72],
               "model.layers.3.self_attn.q_a_proj.weight": [22, 36]}),
    "deepseek_v3_fp8": Checkpoint("deepseek_v3", "BF16", LATENT | dict(
        hidden_size=141, kv_lora_rank=136, q_lora_rank=133, intermediate_size=150, moe_intermediate_size=131,
        num_hidden_layers=2, first_k_dense_replace=1, n_routed_experts=6, num_experts_per_tok=3, n_shared_experts=1,
        n_group=2, topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.5, rope_parameters=PLAIN),
        keys=DEEPSEEK_KEYS | dict(scoring_func="sigmoid", topk_method="noaux_tc"), quantized="fp8"),
    # deepseek_v2: as V2-Lite; groups and q-LoRA, normalised.
    "deepseek_v2_lite_f32": Checkpoint("deepseek_v2", "F32", LATENT | dict(
        intermediate_size=37, moe_intermediate_size=20, num_hidden_layers=3, first_k_dense_replace=1, q_lora_rank=None,
        n_routed_experts=11, num_experts_per_tok=3, n_shared_experts=2, topk_method="greedy", n_group=1, topk_group=1,
        norm_topk_prob=False, routed_scaling_factor=1.5, rms_norm_eps=1e-2,
        rope_parameters=YARN | dict(mscale=0.707, mscale_all_dim=0.707, beta_fast=32, beta_slow=1)),
        keys=DEEPSEEK_KEYS | dict(scoring_func="softmax"), v4=True),
    "deepseek_v2_groups_bf16": Checkpoint("deepseek_v2", "BF16", LATENT | dict(
        intermediate_size=37, moe_intermediate_size=13, num_hidden_layers=3, first_k_dense_replace=1, q_lora_rank=22,
        n_routed_experts=15, num_experts_per_tok=3, n_shared_experts=1, topk_method="group_limited_greedy", n_group=5,
        topk_group=2, norm_topk_prob=True, routed_scaling_factor=16.0, vocab_size=149, attention_bias=True,
        rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=0.5)),
        keys=DEEPSEEK_KEYS | dict(scoring_func="softmax"), stacked=True, shards=2),
    # glm4_moe_lite: norms of the latents keep an epsilon of 1e-6, whatever that of the rest.
    "glm4_moe_lite_f32": Checkpoint("glm4_moe_lite", "F32", LATENT | dict(
        intermediate_size=37, moe_intermediate_size=20, num_hidden_layers=3, q_lora_rank=22, n_routed_experts=11,
        num_experts_per_tok=3, n_shared_experts=1, rms_norm_eps=1e-2, routed_scaling_factor=1.75,
        rope_parameters=PLAIN)),
    "glm4_moe_lite_bf16": Checkpoint("glm4_moe_lite", "BF16", LATENT | dict(
        intermediate_size=37, moe_intermediate_size=13, num_hidden_layers=3, q_lora_rank=None, n_routed_experts=15,
        num_experts_per_tok=3, n_shared_experts=2, n_group=5, topk_group=3, norm_topk_prob=False, vocab_size=149,
        mlp_layer_types=["sparse", "dense", "sparse"], attention_bias=True, rope_parameters=PLAIN), stacked=True,
        shards=2, v4=True, extra={"model.layers.3.eh_proj.weight": [36, 72]}),
    # phimoe: SparseMixer, LayerNorms, biases; longrope within and beyond its length; a window.
    "phimoe_longrope_f32": Checkpoint("phimoe", "F32", dict(
        hidden_size=42, num_attention_heads=3, num_key_value_heads=1, intermediate_size=20, num_hidden_layers=3,
        num_local_experts=5, num_experts_per_tok=2, attention_bias=True, lm_head_bias=True, router_jitter_noise=0.25,
        rms_norm_eps=1e-2, max_position_embeddings=512, rope_parameters=dict(
            rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=128, short_mscale=1.125,
            long_mscale=1.25, short_factor=[1.0, 1.0625, 1.125, 1.25, 1.5, 1.75, 2.0],
            long_factor=[1.0, 1.25, 2.0, 3.5, 5.0, 6.0, 9.0])), context_size=128, beyond=150,
        keys=dict(original_max_position_embeddings=128), v4=True),
    "phimoe_window_bf16": Checkpoint("phimoe", "BF16", dict(
        hidden_size=40, head_dim=24, num_attention_heads=3, num_key_value_heads=1, intermediate_size=13,
        num_hidden_layers=3, num_local_experts=11, num_experts_per_tok=2, attention_bias=True, lm_head_bias=False,
        router_jitter_noise=0.125, sliding_window=7, vocab_size=149, rope_parameters=PLAIN), stacked=True, shards=2),
    # gpt_oss: sinks, biases, interleaved gate and up, transposed stacks whose shapes tell nothing; MXFP4.
    "gpt_oss_bf16": Checkpoint("gpt_oss", "BF16", WIDE | dict(
        hidden_size=42, head_dim=14, intermediate_size=42, num_hidden_layers=4, num_local_experts=11,
        num_experts_per_tok=3, sliding_window=7, swiglu_limit=1.5, rms_norm_eps=1e-2,
        rope_parameters=YARN | dict(truncate=False, beta_fast=32.0, beta_slow=1.0))),
    "gpt_oss_mxfp4": Checkpoint("gpt_oss", "BF16", dict(
        hidden_size=64, num_attention_heads=3, num_key_value_heads=1, head_dim=24, intermediate_size=32,
        num_hidden_layers=3, num_local_experts=5, num_experts_per_tok=3, sliding_window=5, vocab_size=149,
        layer_types=["full_attention", "sliding_attention", "full_attention"], swiglu_limit=7.0,
        rope_parameters=YARN | dict(truncate=True, factor=2.5)), keys=dict(experts_per_token=3), shards=2,
        quantized="mxfp4", v4=True),
}  # fmt: skip


def rounded(row):
    return [float(f"{x:.{SIGNIFICANT}g}") for x in row]


def expected(checkpoint, folder, seed):
    names = {new: old for old, new in checkpoint.names.items()}
    reference = Reference(folder, names=names)
    vocabulary = checkpoint.config["vocab_size"]
    prompt = [int(z) for z in outputs(seed + 99991, PROMPT) % numpy.uint64(vocabulary)]
    tokens, margin = list(prompt), float("inf")
    for _ in range(STEPS):
        logits = reference.forward(tokens)
        if len(tokens) == PROMPT:
            of_prompt, routes = logits, reference.routes
        best = torch.topk(logits[-1], 2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
    last = reference.forward(tokens)[-1]
    out = {
        "prompt": prompt,
        "greedy": tokens[PROMPT:],
        "context_size": checkpoint.context_size,
        "min_margin": margin,
        "nearest_route": min(reference.nearest, 1e9),
        "logits": [rounded(row) for row in of_prompt.tolist()],
        "logits_last": rounded(last.tolist()),
        "routes": [{"layer": layer, "experts": experts, "weights": [rounded(row) for row in weights]}
                   for layer, (experts, weights) in sorted(routes.items())],
    }  # fmt: skip
    if checkpoint.beyond:
        text = (tokens + prompt + tokens)[: checkpoint.beyond]
        logits = reference.forward(text)
        chosen = list(range(0, len(text), 25)) + [len(text) - 1]
        out["beyond"] = {"tokens": text, "positions": chosen, "logits": [rounded(logits[p].tolist()) for p in chosen]}
    exact = Reference(folder, torch.float64, names).forward(tokens)
    out["error"] = ((reference.forward(tokens) - exact).abs().max() / exact.abs().max()).item()
    return out


def main():
    root = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or CHECKPOINTS:
        folder = root / name
        for seed in range(1, 50):
            weights_hash = CHECKPOINTS[name].write(folder, seed)
            found = expected(CHECKPOINTS[name], folder, seed) | {"weights_hash": weights_hash}
            error = found.pop("error")
            if found["min_margin"] >= 1e-3 and found["nearest_route"] >= 2e-5 and error < 1e-5:
                break
            print(f"{name}: seed {seed} left out, margin {found['min_margin']:.1e}, "
                  f"nearest route {found['nearest_route']:.1e}, error {error:.1e}")  # fmt: skip
        (folder / "expected.json").write_text(json.dumps(found) + "\n")
        for file in folder.glob("*.safetensors*"):
            file.unlink()
        distinct = len(set(found["greedy"]))
        spread = numpy.std(found["logits"])
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{name}: seed {seed}, {size} bytes, {distinct} distinct tokens, logits' deviation {spread:.2f}, margin "
              f"{found['min_margin']:.1e}, nearest route {found['nearest_route']:.1e}, error {error:.1e}", flush=True)


if __name__ == "__main__":
    main()
