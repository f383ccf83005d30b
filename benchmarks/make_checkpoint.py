#!/usr/bin/env python3
"""Writes a checkpoint of random weights in the shape of a model people use: speed does not depend on the values.

  make_checkpoint.py --shape granite-1b --format gguf --type q4_0 granite.gguf
  make_checkpoint.py --shape granite-1b --format gguf --type q4_k --head q6_k --layers 4 granite.gguf
  make_checkpoint.py --shape olmoe --format safetensors --type bf16 FOLDER

Weights are scaled so that activations stay finite, and depend on --seed alone; quantized ones are random blocks, whose
scale is the same all over a tensor. The vocabulary is bytes and fillers. Half a million weights are in memory at a
time. Needs Python's standard library and nothing else. Shapes are those of the models' config.json; names of keys and
tensors those of transformers and of the gguf package.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import random
import struct


@dataclasses.dataclass(frozen=True)
class Shape:
    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int  # of an expert, or of the only network
    vocab: int
    experts: int = 0
    k: int = 0
    tied: bool = False
    dense_ffn: int = 0  # of the first layer, where it has no experts
    shared: int = 0  # experts that every token passes through
    latent: int = 0  # of latent attention: head_dim is without positions then
    rope_dim: int = 0
    context: int = 32768
    theta: float = 10000.0


SHAPES = {
    "granite-1b": Shape("granitemoe", 1024, 24, 16, 8, 64, 512, 49155, 32, 8, tied=True),
    "granite-3b": Shape("granitemoe", 1536, 32, 24, 8, 64, 512, 49155, 40, 8, tied=True),
    "olmoe": Shape("olmoe", 2048, 16, 16, 16, 128, 1024, 50304, 64, 8),
    "qwen3-30b": Shape("qwen3_moe", 2048, 48, 32, 4, 128, 768, 151936, 128, 8, theta=1e6),
    "deepseek-v2-lite": Shape("deepseek_v2", 2048, 27, 16, 16, 128, 1408, 102400, 64, 6, dense_ffn=10944, shared=2,
                              latent=512, rope_dim=64),
    "smollm2-135m": Shape("llama", 576, 30, 9, 3, 64, 1536, 49152, tied=True, theta=1e5),
    "tiny-granite": Shape("granitemoe", 64, 2, 3, 1, 24, 96, 300, 5, 2, tied=True),
    "tiny-olmoe": Shape("olmoe", 32, 2, 2, 2, 14, 48, 300, 11, 3),
    "tiny-qwen3": Shape("qwen3_moe", 256, 2, 4, 2, 64, 288, 300, 7, 3),
    "tiny-deepseek": Shape("deepseek_v2", 64, 3, 3, 3, 24, 32, 300, 5, 2, dense_ffn=80, shared=2, latent=32,
                           rope_dim=8),
    "tiny-llama": Shape("llama", 96, 2, 4, 2, 24, 160, 300, tied=True),
}  # fmt: skip

FLOATS = {"f32": (0, 4), "f16": (1, 2), "bf16": (30, 2)}  # number of the type in GGUF files, bytes


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Random bytes, but for halves, offset: value for weights of a standard deviation of 1."""

    number: int  # in GGUF files
    size: int  # weights
    bytes: int
    halves: dict
    exponent: float = 0.0  # of MXFP4: standard deviation at 2^0, in place of a half
    narrow: str = ""  # the type where rows are no whole blocks


def rms(values):
    values = list(values)
    return math.sqrt(sum(v * v for v in values) / len(values))


def with_minimum(top, scales):
    """y = d s q - dmin m, q in 0 .. top, s and m of `scales`: d and dmin, such that the mean is 0."""
    y = [s * q - top / 2 * m for s in scales for m in scales for q in range(top + 1)]
    return 1 / rms(y), top / 2 / rms(y)


NONLINEAR = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
Q4_1, Q5_1 = with_minimum(15, [1]), with_minimum(31, [1])
Q2_K, Q4_K, Q5_K = with_minimum(3, range(16)), with_minimum(15, range(64)), with_minimum(31, range(64))
BLOCKS = {
    "q4_0": Blocks(2, 32, 18, {0: 1 / rms(range(-8, 8))}),
    "q4_1": Blocks(3, 32, 20, {0: Q4_1[0], 2: -Q4_1[1]}),
    "q5_0": Blocks(6, 32, 22, {0: 1 / rms(range(-16, 16))}),
    "q5_1": Blocks(7, 32, 24, {0: Q5_1[0], 2: -Q5_1[1]}),
    "q8_0": Blocks(8, 32, 34, {0: 1 / rms(range(-128, 128))}),
    "q2_k": Blocks(10, 256, 84, {80: Q2_K[0], 82: Q2_K[1]}, narrow="q4_0"),
    "q3_k": Blocks(11, 256, 110, {108: 1 / rms(range(-32, 32)) / rms(range(-4, 4))}, narrow="q4_0"),
    "q4_k": Blocks(12, 256, 144, {0: Q4_K[0], 2: Q4_K[1]}, narrow="q5_0"),
    "q5_k": Blocks(13, 256, 176, {0: Q5_K[0], 2: Q5_K[1]}, narrow="q5_1"),
    "q6_k": Blocks(14, 256, 210, {208: 1 / rms(range(-128, 128)) / rms(range(-32, 32))}, narrow="q8_0"),
    "iq4_nl": Blocks(20, 32, 18, {0: 1 / rms(NONLINEAR)}),
    "iq4_xs": Blocks(23, 256, 136, {0: 1 / rms(range(-32, 32)) / rms(NONLINEAR)}, narrow="iq4_nl"),
    "mxfp4": Blocks(39, 32, 17, {}, exponent=rms([0, 0.5, 1, 1.5, 2, 3, 4, 6])),
}


def fitting(type_name, columns):
    """The type, or the one that llama.cpp takes where rows are no whole blocks of it."""
    while type_name in BLOCKS and columns % BLOCKS[type_name].size:
        type_name = BLOCKS[type_name].narrow or "f16"
    return type_name


def size_of(type_name, sizes):
    count = math.prod(sizes)
    if type_name in FLOATS:
        return count * FLOATS[type_name][1]
    return count // BLOCKS[type_name].size * BLOCKS[type_name].bytes


@functools.cache
def high_bytes(type_name, deviation, positive):
    """Random byte -> sign and first bits of floats with this deviation: of two neighbouring magnitudes, by shares."""

    def square(high):
        if type_name == "f16":
            values = [struct.unpack("<e", bytes([low, high]))[0] for low in range(256)]
        else:
            values = [struct.unpack("<f", bytes([0, 0, low, high]))[0] for low in range(256)]
        return rms(values) ** 2

    low = max(high for high in range(96) if square(high) <= deviation**2 or high == 0)
    larger = round(128 * (deviation**2 - square(low)) / (square(low + 1) - square(low)))
    table = [low + (i % 128 < larger) for i in range(256)]
    return bytes(h if positive or i < 128 else h | 128 for i, h in enumerate(table))


def parts(rng, type_name, sizes, deviation, positive=False):
    """The bytes of a tensor, one piece after the other."""
    left = math.prod(sizes)
    while left > 0:
        count = min(left, 1 << 19)
        left -= count
        data = bytearray(rng.randbytes(size_of(type_name, [count])))
        if type_name in FLOATS:
            step = FLOATS[type_name][1]
            data[step - 1 :: step] = data[step - 1 :: step].translate(high_bytes(type_name, deviation, positive))
        else:
            blocks = BLOCKS[type_name]
            n = count // blocks.size
            for offset, value in blocks.halves.items():
                half = struct.pack("<e", value * deviation)
                data[offset :: blocks.bytes] = half[:1] * n
                data[offset + 1 :: blocks.bytes] = half[1:] * n
            if blocks.exponent:
                data[0 :: blocks.bytes] = bytes([127 + round(math.log2(deviation / blocks.exponent))]) * n
        yield data


def weights(shape):
    """Name in GGUF files (without .weight) and sizes, outermost first."""
    s = shape
    yield "token_embd", (s.vocab, s.hidden)
    for layer in range(s.layers):
        block = f"blk.{layer}."
        yield block + "attn_norm", (s.hidden,)
        if s.latent:
            yield block + "attn_q", (s.heads * (s.head_dim + s.rope_dim), s.hidden)
            yield block + "attn_kv_a_mqa", (s.latent + s.rope_dim, s.hidden)
            yield block + "attn_kv_a_norm", (s.latent,)
            yield block + "attn_kv_b", (s.heads * 2 * s.head_dim, s.latent)
        else:
            yield block + "attn_q", (s.heads * s.head_dim, s.hidden)
            yield block + "attn_k", (s.kv_heads * s.head_dim, s.hidden)
            yield block + "attn_v", (s.kv_heads * s.head_dim, s.hidden)
        if s.family in ("olmoe", "qwen3_moe"):
            per_head = s.family == "qwen3_moe"
            yield block + "attn_q_norm", (s.head_dim * (1 if per_head else s.heads),)
            yield block + "attn_k_norm", (s.head_dim * (1 if per_head else s.kv_heads),)
        yield block + "attn_output", (s.hidden, s.heads * s.head_dim)
        yield block + "ffn_norm", (s.hidden,)
        is_sparse = s.experts > 0 and not (layer == 0 and s.dense_ffn)
        if is_sparse:
            yield block + "ffn_gate_inp", (s.experts, s.hidden)
        stacks = [("", 0, s.dense_ffn or s.ffn)] if not is_sparse else [("_exps", s.experts, s.ffn)]
        if is_sparse and s.shared:
            stacks.append(("_shexp", 0, s.shared * s.ffn))
        for kind, experts, width in stacks:
            stack = (experts,) if experts else ()
            yield block + "ffn_gate" + kind, stack + (width, s.hidden)
            yield block + "ffn_up" + kind, stack + (width, s.hidden)
            yield block + "ffn_down" + kind, stack + (s.hidden, width)
    yield "output_norm", (s.hidden,)
    if not s.tied:
        yield "output", (s.vocab, s.hidden)


def type_of(name, sizes, options):
    """Of a tensor in a GGUF file: norms and routers are F32 there."""
    if name.endswith("norm") or name.endswith("ffn_gate_inp"):
        return "f32"
    kind = options.type
    if name == "output" or (name == "token_embd" and SHAPES[options.shape].tied):
        kind = options.head or kind
    elif name.endswith("_exps"):
        kind = options.experts or kind
    return fitting(kind, sizes[-1])


def write_tensor(file, rng, name, type_name, sizes):
    is_norm = name.endswith("norm") or name.endswith("norm.weight")
    deviation = 1.0 if is_norm else 0.02 if "embd" in name or "embed" in name else sizes[-1] ** -0.5
    for part in parts(rng, type_name, sizes, deviation, positive=is_norm):
        file.write(part)


def vocabulary(size):
    """Byte-level tokens as GPT-2 writes them, fillers, and the end of a text, which is the last."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    tokens = [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]
    return tokens + [f"filler{i}" for i in range(256, size - 1)] + ["<|endoftext|>"]


GGUF_NAMES = {
    "granitemoe": "granitemoe", "olmoe": "olmoe", "qwen3_moe": "qwen3moe", "deepseek_v2": "deepseek2", "llama": "llama",
}  # fmt: skip
GRANITE = {"embedding": 12.0, "residual": 0.22, "attention": 0.015625, "logits": 6.0}


def gguf_keys(s):
    name = GGUF_NAMES[s.family]
    keys = {
        "context_length": s.context, "embedding_length": s.hidden, "block_count": s.layers,
        "feed_forward_length": s.dense_ffn or s.ffn, "attention.head_count": s.heads,
        "attention.head_count_kv": s.kv_heads, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": s.theta,
        "vocab_size": s.vocab,
    }  # fmt: skip
    if s.latent:
        keys |= {"attention.kv_lora_rank": s.latent, "attention.key_length": s.head_dim + s.rope_dim,
                 "attention.value_length": s.head_dim, "rope.dimension_count": s.rope_dim,
                 "leading_dense_block_count": 1, "expert_shared_count": s.shared,
                 "expert_weights_scale": 1.0}  # fmt: skip
    else:
        keys |= {"attention.key_length": s.head_dim, "attention.value_length": s.head_dim,
                 "rope.dimension_count": s.head_dim}  # fmt: skip
    if s.experts:
        keys |= {"expert_count": s.experts, "expert_used_count": s.k}
    if s.family in ("qwen3_moe", "deepseek_v2"):
        keys["expert_feed_forward_length"] = s.ffn
    if s.family == "granitemoe":
        keys |= {"embedding_scale": GRANITE["embedding"], "residual_scale": GRANITE["residual"],
                 "attention.scale": GRANITE["attention"], "logit_scale": GRANITE["logits"]}  # fmt: skip
    tokens = vocabulary(s.vocab)
    vocab = {
        "model": "gpt2", "pre": "gpt-2", "tokens": tokens, "token_type": [1] * (s.vocab - 1) + [3], "merges": ["a b"],
        "bos_token_id": s.vocab - 1, "eos_token_id": s.vocab - 1,
    }  # fmt: skip
    tokens[256] = "ab"
    return {
        "general.architecture": name,
        "general.alignment": 32,
        **{f"{name}.{key}": value for key, value in keys.items()},
        **{f"tokenizer.ggml.{key}": value for key, value in vocab.items()},
    }


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_string(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    is_text = isinstance(value[0], str)
    data = b"".join(gguf_string(v) for v in value) if is_text else struct.pack(f"<{len(value)}i", *value)
    return struct.pack("<IIQ", 9, 8 if is_text else 5, len(value)) + data


def write_gguf(shape, options):
    tensors = [(name, sizes, type_of(name, sizes, options)) for name, sizes in weights(shape)]
    keys = gguf_keys(shape)
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    header += b"".join(gguf_string(key) + gguf_value(value) for key, value in keys.items())
    place = 0
    for name, sizes, kind in tensors:
        number = (FLOATS[kind] if kind in FLOATS else (BLOCKS[kind].number,))[0]
        header += gguf_string(name + ".weight") + struct.pack("<I", len(sizes))
        header += struct.pack(f"<{len(sizes)}Q", *reversed(sizes)) + struct.pack("<IQ", number, place)
        place += -(-size_of(kind, sizes) // 32) * 32
    with open(options.out, "wb") as file:
        file.write(header)
        rng = random.Random(options.seed)
        for name, sizes, kind in tensors:
            file.write(bytes(-file.tell() % 32))
            write_tensor(file, rng, name, kind, sizes)
        file.write(bytes(-file.tell() % 32))


HF_NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa", "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj", "ffn_gate_inp": "mlp.gate",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj", "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
    "ffn_gate_exps": "mlp.experts.{}.gate_proj", "ffn_up_exps": "mlp.experts.{}.up_proj",
    "ffn_down_exps": "mlp.experts.{}.down_proj",
}  # fmt: skip
GRANITE_NAMES = {  # gate and up are one stack, that of the gate first
    "ffn_gate_inp": "block_sparse_moe.router.layer", "ffn_gate_exps": "block_sparse_moe.input_linear",
    "ffn_up_exps": None, "ffn_down_exps": "block_sparse_moe.output_linear",
}  # fmt: skip


def hf_weights(shape):
    names = HF_NAMES | (GRANITE_NAMES if shape.family == "granitemoe" else {})
    for name, sizes in weights(shape):
        prefix = ""
        if name.startswith("blk."):
            _, layer, name = name.split(".", 2)
            prefix = f"model.layers.{layer}."
        own = names[name]
        if own is None:
            continue
        if "{}" in own:
            for expert in range(sizes[0]):
                yield prefix + own.format(expert) + ".weight", sizes[1:]
        elif own.endswith("input_linear"):
            yield prefix + own + ".weight", (sizes[0], 2 * sizes[1], sizes[2])
        else:
            yield prefix + own + ".weight", sizes


def hf_config(s):
    config = {
        "model_type": s.family, "vocab_size": s.vocab, "hidden_size": s.hidden, "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads, "num_key_value_heads": s.kv_heads, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "intermediate_size": s.dense_ffn or s.ffn, "max_position_embeddings": s.context, "rope_theta": s.theta,
        "tie_word_embeddings": s.tied, "bos_token_id": s.vocab - 1, "eos_token_id": s.vocab - 1,
    }  # fmt: skip
    if s.family == "deepseek_v2":
        config |= {"q_lora_rank": None, "kv_lora_rank": s.latent, "qk_nope_head_dim": s.head_dim,
                   "qk_rope_head_dim": s.rope_dim, "v_head_dim": s.head_dim, "n_routed_experts": s.experts,
                   "n_shared_experts": s.shared, "num_experts_per_tok": s.k, "moe_intermediate_size": s.ffn,
                   "first_k_dense_replace": 1, "topk_method": "greedy", "scoring_func": "softmax",
                   "norm_topk_prob": False, "routed_scaling_factor": 1.0}  # fmt: skip
        return config
    config["head_dim"] = s.head_dim
    if s.experts:
        key = "num_local_experts" if s.family == "granitemoe" else "num_experts"
        config |= {"num_experts_per_tok": s.k, key: s.experts}
    if s.family == "qwen3_moe":
        config |= {"moe_intermediate_size": s.ffn, "norm_topk_prob": True}
    if s.family == "granitemoe":
        config |= {"embedding_multiplier": GRANITE["embedding"], "residual_multiplier": GRANITE["residual"],
                   "attention_multiplier": GRANITE["attention"], "logits_scaling": GRANITE["logits"]}  # fmt: skip
    return config


def write_safetensors(shape, options):
    os.makedirs(options.out, exist_ok=True)
    tensors = list(hf_weights(shape))
    header, place = {}, 0
    for name, sizes in tensors:
        end = place + size_of(options.type, sizes)
        header[name] = {"dtype": options.type.upper(), "shape": sizes, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(options.out, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        rng = random.Random(options.seed)
        for name, sizes in tensors:
            write_tensor(file, rng, name, options.type, sizes)
    tokens = vocabulary(shape.vocab)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = {"id": shape.vocab - 1, "content": tokens[-1], "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False, "special": True}  # fmt: skip
    vocab = {token: i for i, token in enumerate(tokens)}
    documents = {
        "config.json": hf_config(shape),
        "tokenizer.json": {"version": "1.0", "added_tokens": [end], "normalizer": None, "pre_tokenizer": byte_level,
                           "post_processor": None, "decoder": byte_level,
                           "model": {"type": "BPE", "vocab": vocab, "merges": []}},
    }  # fmt: skip
    for name, document in documents.items():
        with open(os.path.join(options.out, name), "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    types = [*FLOATS, *BLOCKS]
    parser.add_argument("--shape", required=True, choices=SHAPES)
    parser.add_argument("--format", required=True, choices=["safetensors", "gguf"])
    parser.add_argument("--type", default="bf16", choices=types)
    parser.add_argument("--head", choices=types, help="the type of the output head (GGUF)")
    parser.add_argument("--experts", choices=types, help="the type of the experts (GGUF)")
    parser.add_argument("--layers", type=int, help="so many of the layers")
    parser.add_argument("--family", choices=GGUF_NAMES, help="the shape as another family's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("out", help="a folder, or the GGUF file")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    if options.layers is not None:
        if not 1 <= options.layers <= shape.layers:
            parser.error(f"--layers: got {options.layers}, allowed is 1 to {shape.layers}")
        shape = dataclasses.replace(shape, layers=options.layers)
    if options.family:
        if shape.experts == 0 or shape.latent or options.family in ("deepseek_v2", "llama"):
            parser.error("--family: the shape is no other family's")
        shape = dataclasses.replace(shape, family=options.family)
    if options.format == "gguf":
        write_gguf(shape, options)
    elif options.head or options.experts or options.type not in FLOATS:
        parser.error("safetensors files hold one type: f32, f16 or bf16")
    else:
        write_safetensors(shape, options)


if __name__ == "__main__":
    main()
