"""The checkpoints of ../families as GGUF files, written by the `gguf` package, and how to make the same files.

usage: make_gguf.py [NAME ...]     (needs gguf 0.19, torch, transformers 5.24, safetensors, numpy; writes NAME.json here)

Names of tensors are those of the package (TensorNameMap), keys those of its GGUFWriter; which keys there are, and what
happens to tensors, is what llama.cpp's converters do (architectures: ../../../include/headgate/models/README.md).
NAME.json of a checkpoint NAME of ../families, of which the files themselves are not kept:
  config   what its config.json says otherwise, because GGUF cannot say it: transformers' default or what files mean
  keys     key, type, value (and type of elements) in the order of the file
  tensors  name, type, `of` (tensors of the checkpoint, stacked where there are several) or `values`, and ops in turn:
             ["shape", sizes...]                     as many elements in other sizes
             ["swap", a, b]                          two axes
             ["slice", axis, first, end, step]       along an axis
             ["fp8"]                                 of codes and scales of blocks: their products, in float32
             ["mxfp4"]                               of blocks and scales: ggml's blocks
             ["F32"]                                 bfloat16 and float16 as float32
  hash     FNV-1a over the file that the package wrote
wide_FAMILY.json has no checkpoint: its tensors have a shape, a type and a seed (wide_data), rows of whole blocks of
quantised types, mixed as llama.cpp mixes them.
tests/models/gguf_families_test.cpp makes the files again, byte for byte, and loads them.
"""

import json
import math
import pathlib
import re
import sys
import tempfile

import gguf
import numpy

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE.parent / "families"
sys.path.insert(0, str(FAMILIES))
import reference  # noqa: E402

ARCHITECTURES = dict(
    llama="llama", mixtral="llama", olmoe="olmoe", qwen2_moe="qwen2moe", qwen3_moe="qwen3moe", granitemoe="granitemoe",
    granitemoeshared="granitemoe", deepseek_v2="deepseek2", deepseek_v3="deepseek2", glm4_moe_lite="deepseek2",
    phimoe="phimoe", gpt_oss="gpt-oss", ernie4_5_moe="ernie4_5-moe", lfm2_moe="lfm2moe",
)  # fmt: skip
TURNED = ("llama", "mixtral", "granitemoe", "granitemoeshared")  # halves of heads become pairs

# What GGUF cannot say of a checkpoint, by name.
OVERRIDES = {
    "qwen2_moe_f32": dict(use_sliding_window=False, layer_types=["full_attention"] * 4),
    "phimoe_longrope_f32": dict(router_jitter_noise=0.01, rope_scaling=dict(short_mscale=1.25, long_mscale=1.25)),
    "phimoe_window_bf16": dict(router_jitter_noise=0.01),
    "gpt_oss_bf16": dict(swiglu_limit=7.0),
    "gpt_oss_mxfp4": dict(rope_scaling=dict(truncate=False)),
    "ernie4_5_moe_bf16": dict(moe_norm_min=1e-12),
    "deepseek_v2_groups_bf16": dict(rope_parameters=dict(mscale=0.5)),
}
# llama_dynamic_f16: there is no such kind of positions. glm4_moe_lite_bf16: a dense layer behind one with experts.
# granitemoe_swa_*, mellum_*: version 0.19 of the package has no such architecture.
LEFT_OUT = re.compile("llama_dynamic_f16|glm4_moe_lite_bf16|granitemoe_swa_.*|mellum_.*")
LEGACY_KV_B = ("deepseek_v2_lite_f32",)  # attn_kv_b whole, as before 2025


def merged(config, more):
    out = dict(config)
    for key, value in more.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) else value
    return out


def hash_of(data):
    found = 14695981039346656037
    for byte in data:
        found = (found ^ byte) * 1099511628211 & 0xFFFFFFFFFFFFFFFF
    return f"{found:016x}"


# ---------------------------------------------------------------------------------------------------------------------
# Keys.


def rope_of(config):
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta"))
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    return rope


def head_dim_of(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def write_rope(w, config, extra):
    rope = rope_of(config)
    kind = rope["rope_type"]
    w.add_rope_freq_base(rope["rope_theta"])
    if kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if "attention_factor" in rope and rope["attention_factor"] is not None:
            w.add_rope_scaling_yarn_attn_factor(rope["attention_factor"])
        if "beta_fast" in rope:
            w.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        if "beta_slow" in rope:
            w.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    elif kind == "longrope":
        w.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_attn_factors(rope["short_mscale"])
        extra["rope_factors_long.weight"] = rope["long_factor"]
        extra["rope_factors_short.weight"] = rope["short_factor"]
    elif kind == "llama3":
        extra["rope_freqs.weight"] = llama3_divisors(rope, head_dim_of(config))
    else:
        assert kind == "default", kind


def llama3_divisors(rope, dim):
    low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    divisors = []
    for i in range(0, dim, 2):
        length = 2 * math.pi * rope["rope_theta"] ** (i / dim)
        if length < high:
            divisors.append(1.0)
        elif length > low:
            divisors.append(rope["factor"])
        else:
            smooth = rope["original_max_position_embeddings"] / length - rope["low_freq_factor"]
            smooth /= rope["high_freq_factor"] - rope["low_freq_factor"]
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return [float(numpy.float32(x)) for x in divisors]


def write_keys(w, kind, config, layers_with, legacy):
    """Returns tensors that come from config.json."""
    extra = {}
    w.add_block_count(config["num_hidden_layers"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    if "intermediate_size" in config:
        w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_vocab_size(config["vocab_size"])
    w.add_layer_norm_rms_eps(config.get("rms_norm_eps") or config.get("norm_eps"))
    w.add_file_type(0)
    kv_heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    if kind == "lfm2_moe":
        w.add_head_count_kv([kv_heads if t == "full_attention" else 0 for t in config["layer_types"]])
    elif kind in ("deepseek_v2", "deepseek_v3", "glm4_moe_lite"):
        w.add_head_count_kv(config["num_attention_heads"] if legacy else 1)
    else:
        w.add_head_count_kv(kv_heads)
    experts = next((config[k] for k in ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
                    if k in config), None)  # fmt: skip
    if experts is not None:
        w.add_expert_count(experts)
        w.add_expert_used_count(config.get("num_experts_per_tok") or config["moe_k"])
    write_rope(w, config, extra)
    if kind.startswith(("deepseek", "glm4")):
        write_latent_keys(w, kind, config, legacy)
    elif "head_dim" in config and config["head_dim"] is not None:
        w.add_key_length(config["head_dim"])
        w.add_value_length(config["head_dim"])
    if kind in TURNED:
        w.add_rope_dimension_count(head_dim_of(config))
    if kind in ("qwen2_moe", "qwen3_moe", "gpt_oss", "ernie4_5_moe", "lfm2_moe"):
        width = config["intermediate_size"] if kind == "gpt_oss" else config["moe_intermediate_size"]
        w.add_expert_feed_forward_length(width)
    if kind == "qwen2_moe":
        w.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    if kind in ("olmoe", "qwen2_moe", "qwen3_moe") and config["norm_topk_prob"] != (kind == "qwen3_moe"):
        w.add_expert_weights_norm(config["norm_topk_prob"])
    if kind == "olmoe" and config.get("clip_qkv"):
        w.add_clamp_kqv(config["clip_qkv"])
    if kind.startswith("granitemoe"):
        w.add_attention_scale(config["attention_multiplier"])
        w.add_embedding_scale(config["embedding_multiplier"])
        w.add_residual_scale(config["residual_multiplier"])
        w.add_logit_scale(config["logits_scaling"])
        if config.get("shared_intermediate_size"):
            w.add_expert_shared_feed_forward_length(config["shared_intermediate_size"])
    if kind in ("mixtral", "phimoe", "gpt_oss"):
        w.add_sliding_window(config.get("sliding_window") or 0)
    if kind == "gpt_oss" and config["layer_types"][0] != "sliding_attention":
        w.add_sliding_window_pattern([t == "sliding_attention" for t in config["layer_types"]])
    if kind == "ernie4_5_moe":
        w.add_interleave_moe_layer_step(config["moe_layer_interval"])
        w.add_leading_dense_block_count(config["moe_layer_start_index"])
        w.add_expert_shared_count(config["moe_num_shared_experts"])
        w.add_expert_shared_feed_forward_length(config["intermediate_size"] // kv_heads)
    if kind == "lfm2_moe":
        w.add_leading_dense_block_count(config["num_dense_layers"])
        w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        w.add_shortconv_l_cache(config["conv_L_cache"])
        if not config["norm_topk_prob"]:
            w.add_expert_weights_norm(False)
        if config["routed_scaling_factor"] != 1.0:
            w.add_expert_weights_scale(config["routed_scaling_factor"])
    w.add_bos_token_id(config["bos_token_id"])
    return extra


def write_latent_keys(w, kind, config, legacy):
    rope = rope_of(config)
    nope, turned = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    dense = config["first_k_dense_replace"] if "first_k_dense_replace" in config else 1
    w.add_leading_dense_block_count(dense)
    if config.get("q_lora_rank") is not None:
        w.add_q_lora_rank(config["q_lora_rank"])
    w.add_kv_lora_rank(config["kv_lora_rank"])
    if legacy:
        w.add_key_length(nope + turned)
        w.add_value_length(config["v_head_dim"])
    else:
        w.add_key_length(config["kv_lora_rank"] + turned)
        w.add_value_length(config["kv_lora_rank"])
        w.add_key_length_mla(nope + turned)
        w.add_value_length_mla(config["v_head_dim"])
    w.add_rope_dimension_count(turned)
    w.add_expert_feed_forward_length(config["moe_intermediate_size"])
    w.add_expert_shared_count(config["n_shared_experts"])
    w.add_expert_weights_scale(config["routed_scaling_factor"])
    if config["norm_topk_prob"]:
        w.add_expert_weights_norm(True)
    if not legacy:
        w.add_expert_group_count(config["n_group"])
        w.add_expert_group_used_count(config["topk_group"])
        softmax = kind == "deepseek_v2"
        functions = gguf.ExpertGatingFuncType
        w.add_expert_gating_func(functions.SOFTMAX if softmax else functions.SIGMOID)
    if rope.get("mscale_all_dim") is not None:
        w.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])


# ---------------------------------------------------------------------------------------------------------------------
# Tensors.


def sources(kind, config, entries, legacy):
    """(name as the package's map knows it, names in the checkpoint, ops), in the order of the checkpoint."""
    names = {entry["name"]: entry for entry in entries}
    heads, kv_heads = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    done = set()
    for name, entry in names.items():
        shape = entry["shape"]
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        if name in done or name.startswith(("mtp.", "model.mtp")):
            continue
        if layer and int(layer[1]) >= config["num_hidden_layers"]:
            continue
        if name.endswith(("_scales", "_scale_inv")):
            continue
        of, ops, at = [name], [], layer[0] if layer else ""
        if name + "_scale_inv" in names:
            ops.append(["fp8"])
        one = re.match(r"(.*\.experts\.)0\.(\w+)(\.weight)$", name)
        if re.search(r"\.experts\.[1-9]\d*\.", name):
            continue
        if one:
            of = [n for n in names if n.startswith(one[1]) and n.endswith("." + one[2] + one[3])]
            of.sort(key=lambda n: int(n[len(one[1]) :].split(".")[0]))
            scaled = [names.get(n + "_scale_inv") for n in of]
            of = [part for n in of for part in ([n, n + "_scale_inv"] if scaled[0] else [n])]
            yield one[1] + one[2] + ".weight", of, ops
        elif re.search(r"experts\.gate_up_proj$|input_linear\.weight$", name) and kind != "gpt_oss":
            at = re.sub(r"gate_up_proj$|input_linear\.weight$", "", name)
            axis = len(shape) - 2
            half = shape[axis] // 2
            place = {"shared_mlp.": "mlp.shared_experts."}.get(at.split(".", 3)[3])
            at = at.replace("shared_mlp.", "mlp.shared_experts.") if place else re.sub(
                r"(block_sparse_moe|feed_forward|mlp)\.(experts\.)?$", "mlp.experts.", at)  # fmt: skip
            yield at + "gate_proj.weight", of, [["slice", axis, 0, half, 1]]
            yield at + "up_proj.weight", of, [["slice", axis, half, 2 * half, 1]]
        elif re.search(r"experts\.down_proj$|output_linear\.weight$", name) and kind != "gpt_oss":
            at = re.sub(r"down_proj$|output_linear\.weight$", "", name)
            at = at.replace("shared_mlp.", "mlp.shared_experts.") if "shared_mlp" in at else re.sub(
                r"(block_sparse_moe|feed_forward|mlp)\.(experts\.)?$", "mlp.experts.", at)  # fmt: skip
            yield at + "down_proj.weight", of, []
        elif kind == "gpt_oss" and ".experts." in name:
            yield from gpt_oss_experts(name, shape)
        elif name.endswith("kv_b_proj.weight") and not legacy:
            both = config["qk_nope_head_dim"] + config["v_head_dim"]
            nope, rank = config["qk_nope_head_dim"], config["kv_lora_rank"]
            of = [name] + [n for n in [name + "_scale_inv"] if n in names]
            ops.append(["shape", heads, both, rank])
            yield name.replace("kv_b_proj", "k_b_proj"), of, ops + [["slice", 1, 0, nope, 1], ["swap", 1, 2]]
            yield name.replace("kv_b_proj", "v_b_proj"), of, ops + [["slice", 1, nope, both, 1]]
        else:
            of = [name] + [n for n in [name + "_scale_inv"] if n in names]
            turned = re.search(r"self_attn\.([qk])_proj\.(weight|bias)$", name)
            if turned and kind in TURNED:
                count = heads if turned[1] == "q" else kv_heads
                ops += [["shape", count, 2, shape[0] // count // 2, *shape[1:]], ["swap", 1, 2], ["shape", *shape]]
            if name.endswith("conv.conv.weight"):
                ops.append(["shape", shape[0], shape[2]])
            if name.endswith("shared_expert_gate.weight"):
                ops.append(["shape", shape[1]])
            if "moe_statics.e_score_correction_bias" in name:
                ops.append(["shape", shape[1]])
            yield published(name), of, ops


def gpt_oss_experts(name, shape):
    base = re.sub(r"(gate_up_proj|down_proj).*", "", name)
    is_blocks = name.endswith("_blocks")
    of = [name, name.replace("_blocks", "_scales")] if is_blocks else [name]
    end = [["mxfp4"]] if is_blocks else []
    kind = ".bias" if name.endswith("_bias") else ".weight"
    turn = [["swap", 1, 2]] if not is_blocks and kind == ".weight" else []
    rows = shape[1] if is_blocks or kind == ".bias" else shape[2]
    if "gate_up_proj" not in name:
        yield base + "down_proj" + kind, of, turn + end
        return
    yield base + "gate_proj" + kind, of, turn + [["slice", 1, 0, rows, 2]] + end
    yield base + "up_proj" + kind, of, turn + [["slice", 1, 1, rows, 2]] + end


def published(name):
    """What converters call a tensor before they look it up."""
    name = re.sub(r"e_score_correction_bias$", "e_score_correction.bias", name)
    name = re.sub(r"feed_forward\.expert_bias$", "feed_forward.expert_bias.bias", name)
    name = re.sub(r"sinks$", "sinks.weight", name)
    name = name.replace("mlp.gate.moe_statics", "mlp.moe_statics")
    return name.replace("block_sparse_moe.router.layer.weight", "block_sparse_moe.router.layer.weight")


def gguf_name(name_map, name):
    """By the package; its map lists the spellings of many models, of which a stack has one or another. An architecture
    that it takes for tied (lfm2moe) has no name of the head there, one of experts in every layer (qwen2moe, qwen3moe)
    none of dense networks: these have the names that others have."""
    if name == "lm_head.weight":
        return gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.OUTPUT] + ".weight"
    if dense := re.fullmatch(r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.weight", name):
        return f"blk.{dense[1]}.ffn_{dense[2]}.weight"
    for spelling in (name, *[re.sub(r"(block_sparse_moe|feed_forward)\.", other, name) for other in
                             ("mlp.", "feed_forward.", "block_sparse_moe.")],
                     re.sub(r"model\.layers", "layers", re.sub(r"block_sparse_moe", "feed_forward", name))):  # fmt: skip
        found = name_map.get_name(spelling, try_suffixes=(".weight", ".bias"))
        if found is not None:
            return found
    raise KeyError(name)


def is_f32(name, shape):
    return len(shape) == 1 or bool(re.search(r"_norm\.weight$|ffn_gate_inp|shortconv\.conv\.|\.bias$|attn_sinks", name))


class Array:
    """A tensor as bytes of elements: what the ops need to know. codes: unsigned integers of its size."""

    def __init__(self, codes, dtype):
        self.codes, self.dtype = codes, dtype

    @staticmethod
    def of(entry):
        stored = reference.values(entry)
        integers = {1: reference.torch.uint8, 2: reference.torch.int16, 4: reference.torch.int32}
        codes = stored.view(integers[stored.element_size()]).numpy()
        return Array(codes.view(f"u{codes.dtype.itemsize}"), entry["dtype"])


def widened(array):
    if array.dtype == "F32":
        return array
    if array.dtype == "BF16":
        return Array(array.codes.astype("u4") << 16, "F32")
    return Array(array.codes.view("f2").astype("f4").view("u4"), "F32")


def ggml_blocks(blocks, scales):
    """ggml has weight j and weight j + 16 in a byte, behind the scale."""
    weights = numpy.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:-1], 32)
    packed = weights[..., :16] | weights[..., 16:] << 4
    return numpy.concatenate([scales[..., None], packed], -1).reshape(*blocks.shape[:2], -1)


def fp8_values(codes, scales):
    table = reference.torch.arange(256, dtype=reference.torch.uint8).view(reference.torch.float8_e4m3fn).float().numpy()
    block = reference.FP8_BLOCK
    spread = scales.view("f4").repeat(block, 0).repeat(block, 1)[: codes.shape[0], : codes.shape[1]]
    return (table[codes] * spread).astype("f4").view("u4")


def applied(arrays, ops):
    ops = list(ops)
    if ops and ops[0] == ["fp8"]:
        arrays = [Array(fp8_values(a.codes, b.codes), "F32") for a, b in zip(arrays[::2], arrays[1::2])]
        ops.pop(0)
    is_mxfp4 = bool(ops) and ops[-1] == ["mxfp4"]
    if is_mxfp4:
        parts = [applied([a], ops[:-1]).codes for a in arrays]
        return Array(ggml_blocks(*parts).astype("u1"), "MXFP4")
    codes = arrays[0].codes if len(arrays) == 1 else numpy.stack([a.codes for a in arrays])
    array = Array(codes, arrays[0].dtype)
    for op, *args in ops:
        if op == "shape":
            array.codes = array.codes.reshape(args)
        elif op == "swap":
            array.codes = array.codes.swapaxes(*args)
        elif op == "slice":
            axis, first, end, step = args
            array.codes = array.codes[(slice(None),) * axis + (slice(first, end, step),)]
        elif op == "F32":
            array = widened(array)
        else:
            raise KeyError(op)
    return array


def written(w, path):
    w.write_header_to_file(path)
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return pathlib.Path(path).read_bytes()


def add(w, name, array):
    codes = numpy.ascontiguousarray(array.codes)
    if array.dtype == "F32":
        w.add_tensor(name, codes.view("f4"))
    else:
        w.add_tensor(name, codes.view("u1"), raw_dtype=gguf.GGMLQuantizationType[array.dtype])


def keys_of(w):
    out = []
    for key, value in w.kv_data[0].items():
        plain = value.value
        kind = value.type.name.lower()
        if value.type == gguf.GGUFValueType.ARRAY:
            kind = "array of " + gguf.GGUFValueType.get_type(plain[0]).name.lower()
        if value.type == gguf.GGUFValueType.FLOAT32:
            plain = float(numpy.float32(plain))
        out.append([key, kind, plain])
    return out


def to_json(recipe):
    line = lambda entry: "  " + json.dumps(entry)
    part = lambda key: f' "{key}": [\n' + ",\n".join(map(line, recipe[key])) + "]"
    rest = [f' "{key}": {json.dumps(value)}' for key, value in recipe.items() if key not in ("keys", "tensors")]
    return "{\n" + ",\n".join(rest + [part("keys"), part("tensors")]) + "\n}\n"


def layers_of(entries):
    return {int(m[1]) for e in entries if (m := re.match(r"model\.layers\.(\d+)\.", e["name"]))}


def make(name):
    folder = FAMILIES / name
    more = OVERRIDES.get(name, {})
    config = merged(json.loads((folder / "config.json").read_text()), more)
    entries = [e for file in json.loads((folder / "tensors.json").read_text())["files"] for e in file["tensors"]]
    entries.sort(key=lambda entry: reference.natural(entry["name"]))
    by_name = {entry["name"]: entry for entry in entries}
    kind = config["model_type"]
    legacy = name in LEGACY_KV_B
    architecture = ARCHITECTURES[kind]
    w = gguf.GGUFWriter(None, architecture)
    extra = write_keys(w, kind, config, entries, legacy)
    number = next(a for a, text in gguf.MODEL_ARCH_NAMES.items() if text == architecture)
    name_map = gguf.get_tensor_name_map(number, config["num_hidden_layers"])
    recipe = {"config": more, "hash": "", "keys": keys_of(w), "tensors": []}
    is_tied = config.get("tie_word_embeddings", config.get("tie_embedding", False))
    for own, of, ops in sources(kind, config, entries, legacy):
        if own == "lm_head.weight" and is_tied:
            continue
        stored = gguf_name(name_map, own)
        array = applied([Array.of(by_name[n]) for n in of], ops)
        if is_f32(stored, array.codes.shape) and array.dtype != "F32":
            ops = ops + [["F32"]]
            array = widened(array)
        add(w, stored, array)
        recipe["tensors"].append({"name": stored, "type": array.dtype, "of": of, "ops": ops})
    for stored, values in extra.items():
        add(w, stored, Array(numpy.array(values, "f4").view("u4"), "F32"))
        recipe["tensors"].append({"name": stored, "type": "F32", "values": values})
    with tempfile.TemporaryDirectory() as scratch:
        data = written(w, pathlib.Path(scratch) / "x.gguf")
    recipe["hash"] = hash_of(data)
    (HERE / f"{name}.json").write_text(to_json(recipe))
    print(f"{name}: {len(data)} bytes, {len(recipe['tensors'])} tensors", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Quantised types.

# bytes a block, elements a block, and where halves stand, with the upper byte of each but its last two bits.
BLOCKS = {
    "Q4_0": (18, 32, {0: 0x24}), "Q4_1": (20, 32, {0: 0x20, 2: 0xAC}), "Q5_0": (22, 32, {0: 0x20}),
    "Q5_1": (24, 32, {0: 0x1C, 2: 0xAC}), "Q8_0": (34, 32, {0: 0x14}), "Q2_K": (84, 256, {80: 0x18, 82: 0x18}),
    "Q3_K": (110, 256, {108: 0x14}), "Q4_K": (144, 256, {0: 0x08, 2: 0x14}), "Q5_K": (176, 256, {0: 0x04, 2: 0x14}),
    "Q6_K": (210, 256, {208: 0x04}), "IQ4_NL": (18, 32, {0: 0x14}), "IQ4_XS": (136, 256, {0: 0x04}),
    "MXFP4": (17, 32, {}),
}  # fmt: skip


def wide_data(kind, shape, seed, is_norm):
    """Byte i takes bits 40 to 47 of output i of splitmix64; of a half the upper byte keeps two of them. The scale of
    MXFP4 keeps two above 118. Floats are u / 4, or 1 + u / 2 for norms."""
    count = int(numpy.prod(shape))
    if kind in ("F32", "F16", "BF16"):
        unit = (reference.outputs(seed, count) >> numpy.uint64(40)).astype("f8") / 2**23 - 1
        floats = ((1 + unit / 2) if is_norm else unit / 4).astype("f4").reshape(shape)
        if kind == "F32":
            return floats.view("u4")
        if kind == "F16":
            return floats.astype("f2").view("u2")
        return reference.torch.from_numpy(floats).to(reference.torch.bfloat16).view(reference.torch.int16).numpy().view("u2")
    size, elements, halves = BLOCKS[kind]
    data = (reference.outputs(seed, count // elements * size) >> numpy.uint64(40)).astype("u1").reshape(-1, size)
    for place, upper in halves.items():
        data[:, place + 1] = upper | data[:, place + 1] & 3
    if kind == "MXFP4":
        data[:, 0] = 118 + (data[:, 0] & 3)
    return data.reshape(*shape[:-1], -1)


WIDE = dict(vocab_size=64, hidden_size=256, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
            intermediate_size=256, num_hidden_layers=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=None,
            pad_token_id=None, tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0))  # fmt: skip
EXPERTS = dict(num_local_experts=4, num_experts_per_tok=2)
NARROW = dict(moe_intermediate_size=256, num_experts=4, num_experts_per_tok=2)
LATENT = dict(num_key_value_heads=4, head_dim=None, kv_lora_rank=256, q_lora_rank=256, qk_nope_head_dim=32,
              qk_rope_head_dim=32, v_head_dim=64, moe_intermediate_size=256, n_routed_experts=4, num_experts_per_tok=2,
              n_shared_experts=1, n_group=1, topk_group=1, routed_scaling_factor=1.5, norm_topk_prob=True)  # fmt: skip
GRANITE = dict(embedding_multiplier=3.0, attention_multiplier=0.09375, residual_multiplier=0.4375, logits_scaling=1.5)
# Of each family, and the types of its attn_q/attn_k, attn_v, attn_output, gate and up, down, and the table: those of
# Q4_K_M in llama, others elsewhere.
WIDES = {
    "llama": ({}, "Q4_K Q6_K Q4_K Q4_K Q6_K Q8_0"),
    "mixtral": (EXPERTS, "Q4_K Q6_K Q4_K Q4_K Q6_K Q6_K"),
    "olmoe": (NARROW | dict(num_key_value_heads=4, num_experts=4), "Q5_K Q8_0 Q5_K Q5_K Q6_K Q4_K"),
    "qwen2_moe": (NARROW | dict(shared_expert_intermediate_size=256, mlp_only_layers=[1]),
                  "Q4_K Q6_K Q5_0 Q4_K Q8_0 Q4_K"),
    "qwen3_moe": (NARROW, "Q3_K Q5_K Q3_K Q2_K Q3_K Q6_K"),
    "granitemoe": (EXPERTS | GRANITE | dict(head_dim=None), "Q4_K Q6_K Q4_K Q4_K Q6_K Q6_K"),
    "granitemoeshared": (EXPERTS | GRANITE | dict(head_dim=None, shared_intermediate_size=256),
                         "Q5_1 Q8_0 Q4_1 Q4_1 Q5_1 F16"),
    "deepseek_v2": (LATENT | dict(first_k_dense_replace=1), "Q4_K Q6_K Q4_K Q4_K Q6_K Q4_K"),
    "deepseek_v3": (LATENT | dict(first_k_dense_replace=1), "IQ4_XS Q6_K Q5_K IQ4_XS Q5_K Q6_K"),
    "phimoe": (EXPERTS | dict(attention_bias=True, lm_head_bias=True), "Q4_0 Q4_0 Q5_0 Q4_0 Q8_0 Q6_K"),
    "gpt_oss": (EXPERTS | dict(layer_types=["sliding_attention", "full_attention"], sliding_window=4,
                               rope_parameters=dict(rope_type="yarn", rope_theta=150000.0, factor=4.0,
                                                    original_max_position_embeddings=16, truncate=False)),
                "Q8_0 Q8_0 Q8_0 MXFP4 MXFP4 Q8_0"),
    "ernie4_5_moe": (dict(moe_intermediate_size=256, moe_num_experts=4, moe_k=2, moe_num_shared_experts=1,
                          moe_layer_start_index=1, moe_layer_end_index=-1, moe_layer_interval=1),
                     "Q4_K Q6_K Q4_K IQ4_NL Q6_K BF16"),
    "lfm2_moe": (NARROW | dict(num_dense_layers=1, conv_L_cache=3, conv_bias=False, norm_topk_prob=True,
                               routed_scaling_factor=1.0, layer_types=["conv", "full_attention"], head_dim=None),
                 "Q4_K Q6_K Q4_0 Q4_K Q6_K Q6_K"),
}  # fmt: skip


def wide_type(name, shape, types, layer):
    if is_f32(name, shape) or len(shape) < 2:
        return "F32"
    query, value, output, gate, down, table = types.split()
    if re.search("token_embd|output.weight", name) and "attn" not in name:
        kind = table
    elif re.search("attn_v|attn_kv_a", name):
        kind = value if layer == 0 else query
    elif re.search("attn_output|in_proj", name):
        kind = output
    elif "ffn_down" in name:
        kind = down if layer == 0 else gate
    elif re.search("ffn_(gate|up)", name):
        kind = gate
    else:
        kind = query
    if kind in BLOCKS and shape[-1] % BLOCKS[kind][1] != 0:
        return "Q8_0" if shape[-1] % 32 == 0 else "F16"
    return kind


def make_wide(kind):
    more, types = WIDES[kind]
    values = {key: value for key, value in (WIDE | more).items() if value is not None or key != "head_dim"}
    config, entries = reference.entries_of(values, kind, "F32", 1, True)
    config = {**config, **{k: v for k, v in values.items() if k not in config}}
    architecture = ARCHITECTURES[kind]
    w = gguf.GGUFWriter(None, architecture)
    write_keys(w, kind, config, entries, False)
    number = next(a for a, text in gguf.MODEL_ARCH_NAMES.items() if text == architecture)
    name_map = gguf.get_tensor_name_map(number, config["num_hidden_layers"])
    by_name = {entry["name"]: entry for entry in entries}
    recipe = {"hash": "", "keys": keys_of(w), "tensors": []}
    for own, of, ops in sources(kind, config, entries, False):
        stored = gguf_name(name_map, own)
        shape = list(applied([Array.of(by_name[n]) for n in of], ops).codes.shape)
        layer = re.match(r"blk\.(\d+)\.", stored)
        dtype = wide_type(stored, shape, types, int(layer[1]) if layer else 0)
        entry = {"name": stored, "type": dtype, "shape": shape, "seed": 7000 + len(recipe["tensors"])}
        data = wide_data(dtype, shape, entry["seed"], stored.endswith("norm.weight"))
        add(w, stored, Array(data, dtype))
        recipe["tensors"].append(entry)
    with tempfile.TemporaryDirectory() as scratch:
        data = written(w, pathlib.Path(scratch) / "x.gguf")
    recipe["hash"] = hash_of(data)
    (HERE / f"wide_{kind}.json").write_text(to_json(recipe))
    print(f"wide_{kind}: {len(data)} bytes, {len(recipe['tensors'])} tensors", flush=True)


def main():
    wanted = sys.argv[1:]
    for folder in sorted(FAMILIES.iterdir()):
        if (folder / "tensors.json").exists() and not LEFT_OUT.fullmatch(folder.name):
            if not wanted or folder.name in wanted:
                make(folder.name)
    for kind in WIDES:
        if not wanted or f"wide_{kind}" in wanted:
            make_wide(kind)


if __name__ == "__main__":
    main()
