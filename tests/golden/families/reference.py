"""Checkpoints made of formulas, and what transformers computes with them, for make_families.py and compare_random.py.

A tensor is {name, dtype, shape, seed, offset, scale}: element i is offset + scale * u(seed, i), computed in double,
rounded to float32 and then to the dtype; u takes the upper 24 bits of output i of splitmix64 started at seed to
[-1, 1). offset and scale are multiples of 2^-20, so the sum rounds once, fused or not. Raw bytes are {.., low, high}
instead: low + the same 24 bits modulo (high - low + 1), and F8_E4M3 takes its sign from the lowest bit of the output;
0x7f, no number, lies above every high. tests/models/family_checkpoint.hpp does the same in C++.

Where transformers 5.24 is not the reference (each said in the function that departs from it):
  deepseek_v2  weights are normalised or else scaled, never both, as in DeepSeek's own modeling_deepseek.py; 5.24 only
               scales. The softmax scale has mscale^2 in both.
  phimoe       the long factors count beyond the original length, as in Microsoft's own modeling_phimoe.py; 5.24 changes
               the magnitude of cosine and sine there, but not the frequencies.
  fp8, mxfp4, compressed-tensors
               dequantised here, by the definitions.
"""

import collections
import contextlib
import json
import pathlib
import re
import shutil
import tempfile

import numpy
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

torch.set_grad_enabled(False)
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}
FP8_BLOCK = 128


def outputs(seed, count):
    with numpy.errstate(over="ignore"):
        z = numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15) + numpy.uint64(seed)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        return z ^ (z >> numpy.uint64(31))


def values(entry):
    """The tensor of an entry, as stored."""
    count = int(numpy.prod(entry["shape"], dtype=numpy.int64))
    z = outputs(entry["seed"], count)
    upper = z >> numpy.uint64(40)
    if "low" in entry:
        codes = entry["low"] + upper % numpy.uint64(entry["high"] - entry["low"] + 1)
        if entry["dtype"] == "F8_E4M3":
            codes = codes | (z & numpy.uint64(1)) << numpy.uint64(7)
        stored = torch.from_numpy(codes.astype(numpy.uint8))
        if entry["dtype"] == "F8_E4M3":
            stored = stored.view(torch.float8_e4m3fn)
        if entry["dtype"] == "I8":
            stored = stored.view(torch.int8)
    else:
        unit = upper.astype(numpy.float64) / 2**23 - 1
        exact = (entry["offset"] + entry["scale"] * unit).astype(numpy.float32)
        if entry.get("is_whole"):
            exact = numpy.floor(exact)
        stored = torch.from_numpy(exact).to(DTYPES[entry["dtype"]])
    return stored.reshape(entry["shape"])


def dyadic(x):
    return round(x * 2**20) / 2**20


def formula(name, shape, dtype, config):
    """How a tensor of this name is filled: nothing at its initial value, routes and attention far from uniform."""
    if name.endswith("_scales"):  # of MXFP4
        return {"low": 122, "high": 125}
    if name.endswith("_blocks"):
        return {"low": 0, "high": 255}
    if name.endswith("weight_scale_inv"):
        return {"offset": dyadic(1 / 600), "scale": dyadic(1 / 1200)}  # the codes' root mean square is 100
    if name.endswith("weight_scale"):  # of I8, whose root mean square is 74
        return {"offset": dyadic(1 / 200), "scale": dyadic(1 / 400)}
    if dtype == "F8_E4M3":
        return {"low": 0, "high": 126}
    if dtype == "I8":
        return {"low": 0, "high": 255}
    if re.search(r"norm\.weight$", name):
        return {"offset": 1.0, "scale": 0.5}
    if re.search(r"expert_bias$|e_score_correction_bias$", name):
        return {"offset": 0.0, "scale": 0.3125}
    if name.endswith("sinks"):
        return {"offset": 1.0, "scale": 2.0}
    if re.search(r"bias$", name):
        return {"offset": 0.0, "scale": 0.5}
    if "embed_tokens" in name:
        return {"offset": 0.0, "scale": 0.5}
    transposed = config["model_type"] == "gpt_oss" and re.search(r"experts\.(gate_up|down)_proj$", name)
    inputs = shape[1] if transposed else shape[-1]
    gain = 4.0 if re.search(r"lm_head|gate\.weight|router", name) else 3.5
    return {"offset": 0.0, "scale": dyadic(gain / inputs**0.5)}


def natural(name):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def is_kept_in_f32(name, config):
    """What real checkpoints of half precision hold in full."""
    return bool(re.search(r"expert_bias$|e_score_correction_bias$", name)) or (
        config["model_type"] == "ernie4_5_moe" and bool(re.search(r"mlp\.gate\.weight$", name))
    )


def entries_of(config_values, model_type, dtype, seed, original_names):
    """Config as transformers writes it, and the tensors that it writes, filled by formula."""
    config = transformers.AutoConfig.for_model(model_type, **config_values)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, save_original_format=original_names)
        written = json.loads((pathlib.Path(folder) / "config.json").read_text())
        shapes = {}
        for file in pathlib.Path(folder).glob("*.safetensors"):
            with safe_open(file, "pt") as tensors:
                shapes |= {name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
    written["dtype"] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}[dtype]
    entries = []
    for name in sorted(shapes, key=natural):
        own = "F32" if is_kept_in_f32(name, written) else dtype
        entries.append({"name": name, "dtype": own, "shape": shapes[name]})
    return written, refilled(entries, written, seed)


def refilled(entries, config, seed):
    for i, entry in enumerate(entries):
        kept = {key: entry[key] for key in ("name", "dtype", "shape")}
        entries[i] = kept | {"seed": seed * 10000 + i} | formula(entry["name"], entry["shape"], entry["dtype"], config)
    return entries


def as_fp8(entries):
    """Linear layers but routers and the head as F8_E4M3 with a scale a block, as DeepSeek-V3 stores them."""
    out = []
    for entry in entries:
        is_linear = len(entry["shape"]) == 2 and not re.search(r"embed_tokens|lm_head|mlp\.gate\.weight", entry["name"])
        out.append(entry | {"dtype": "F8_E4M3"} if is_linear else entry)
        if is_linear:
            blocks = [-(-size // FP8_BLOCK) for size in entry["shape"]]
            out.append({"name": entry["name"] + "_scale_inv", "dtype": "F32", "shape": blocks})
    return out


def as_int8(entries):
    """Linear layers but routers and the head as I8 with a scale a row, as compressed-tensors stores them."""
    out = []
    for entry in entries:
        is_linear = len(entry["shape"]) == 2 and not re.search(r"embed_tokens|lm_head|mlp\.gate\.weight", entry["name"])
        out.append(entry | {"dtype": "I8"} if is_linear else entry)
        if is_linear:
            out.append({"name": entry["name"] + "_scale", "dtype": "BF16", "shape": [entry["shape"][0], 1]})
    return out


def as_mxfp4(entries):
    """gpt_oss' experts [E, in, out] as blocks [E, out, in / 32, 16] of two values a byte and scales."""
    out = []
    for entry in entries:
        if not re.search(r"experts\.(gate_up|down)_proj$", entry["name"]):
            out.append(entry)
            continue
        experts, inputs, rows = entry["shape"]
        assert inputs % 32 == 0
        out.append({"name": entry["name"] + "_blocks", "dtype": "U8", "shape": [experts, rows, inputs // 32, 16]})
        out.append({"name": entry["name"] + "_scales", "dtype": "U8", "shape": [experts, rows, inputs // 32]})
    return out


QUANTIZED = {
    "fp8": (as_fp8, dict(fmt="e4m3", activation_scheme="dynamic", weight_block_size=[FP8_BLOCK, FP8_BLOCK])),
    "mxfp4": (as_mxfp4, dict(modules_to_not_convert=[
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"])),
    "compressed-tensors": (as_int8, dict(
        config_groups=dict(group_0=dict(
            input_activations=dict(dynamic=True, num_bits=8, strategy="token", symmetric=True, type="int"),
            output_activations=None, targets=["Linear"],
            weights=dict(dynamic=False, group_size=None, num_bits=8, strategy="channel", symmetric=True, type="int"))),
        format="int-quantized", ignore=["lm_head", "re:.*mlp.gate$"], kv_cache_scheme=None,
        quantization_status="compressed")),
}  # fmt: skip


def quantized(kind, entries, config, seed):
    quantize, settings = QUANTIZED[kind]
    config["quantization_config"] = {"quant_method": kind} | settings
    return refilled(quantize(entries), config, seed)


OLDER_GRANITE_NAMES = {
    "moe.router.weight": "moe.router.layer.weight",
    "moe.experts.gate_up_proj": "moe.input_linear.weight",
    "moe.experts.down_proj": "moe.output_linear.weight",
}


def renamed(name, names):
    for old, new in names.items():
        name = name.replace(old, new)
    return name


def sharded(entries, count):
    """[(file name, entries)]: neighbours in different files."""
    if count == 1:
        return [("model.safetensors", entries)]
    return [(f"model-{i + 1:05}-of-{count:05}.safetensors", entries[i::count]) for i in range(count)]


def write_weights(folder, files):
    for name, entries in files:
        save_file({entry["name"]: values(entry) for entry in entries}, folder / name, metadata={"format": "pt"})
    if len(files) > 1:
        weight_map = {entry["name"]: name for name, entries in files for entry in entries}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def hash_of_weights(files):
    """FNV-1a over the data of all tensors, in order."""
    found = 14695981039346656037
    for _, entries in files:
        for entry in entries:
            for byte in values(entry).contiguous().view(torch.uint8).numpy().tobytes():
                found = (found ^ byte) * 1099511628211 & 0xFFFFFFFFFFFFFFFF
    return f"{found:016x}"


def as_transformers_4(config):
    """config.json as transformers 4 wrote it: rope_theta and rope_scaling, torch_dtype."""
    config = {key: value for key, value in config.items() if key != "qk_head_dim"}
    config["torch_dtype"] = config.pop("dtype")
    rope = dict(config.pop("rope_parameters"))
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.get("rope_type")
    if config["model_type"] in ("phimoe", "deepseek_v2", "deepseek_v3"):
        rope["type"] = rope.pop("rope_type")
    if config["model_type"] in ("deepseek_v2", "deepseek_v3", "glm4_moe_lite"):
        config.pop("head_dim", None)
    if config["model_type"] == "qwen3_moe":
        config["num_experts"] = config.pop("num_local_experts")
    config["rope_scaling"] = None if kind == "default" else rope
    config["transformers_version"] = "4.46.0"
    return config


# ---------------------------------------------------------------------------------------------------------------------
# Running it.


def mxfp4_values(blocks, scales):
    """Low nibble first; sign, two bits of exponent, one of mantissa; times 2^(scale - 127)."""
    table = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    table = torch.cat([table, -table])
    pairs = torch.stack([table[(blocks & 15).long()], table[(blocks >> 4).long()]], -1).flatten(-2)
    return (pairs * torch.exp2(scales.double() - 127).float()[..., None]).flatten(-2)


def dequantised(tensors):
    out = {}
    for name, tensor in tensors.items():
        if name.endswith("_blocks"):
            rows = mxfp4_values(tensor, tensors[name.replace("_blocks", "_scales")])
            out[name.removesuffix("_blocks")] = rows.transpose(1, 2).contiguous()
        elif tensor.dtype == torch.float8_e4m3fn:
            scale = tensors[name + "_scale_inv"].repeat_interleave(FP8_BLOCK, 0).repeat_interleave(FP8_BLOCK, 1)
            out[name] = tensor.float() * scale[: tensor.shape[0], : tensor.shape[1]]
        elif tensor.dtype == torch.int8:
            out[name] = tensor.float() * tensors[name + "_scale"].float()
        elif not name.endswith(("_scales", "_scale_inv", "_scale")):
            out[name] = tensor
    return out


@contextlib.contextmanager
def watched_top_k():
    """torch.topk with its results in order, and the smallest distance that decided one of its choices: of logits and
    biased scores absolute, of probabilities relative to the greater."""
    own, own_method, nearest = torch.topk, torch.Tensor.topk, [float("inf")]

    def topk(x, k, dim=-1, largest=True, sorted=True):
        if k < x.shape[dim]:
            best = own(x, k + 1, dim=dim).values
            distance = best.narrow(dim, k - 1, 1) - best.narrow(dim, k, 1)
            if x.min() >= 0:
                distance /= best.narrow(dim, k - 1, 1)
            nearest[0] = min(nearest[0], distance.nan_to_num(nan=float("inf")).min().item())
        return own(x, k, dim=dim)

    torch.topk = torch.Tensor.topk = topk
    try:
        yield nearest
    finally:
        torch.topk, torch.Tensor.topk = own, own_method


def patched(model):
    kind = model.config.model_type
    for name, module in model.named_modules():
        if kind == "phimoe" and name.endswith("rotary_emb"):
            module.forward = phimoe_angles(module)
        normalizes = kind == "deepseek_v2" and model.config.norm_topk_prob and model.config.num_experts_per_tok > 1
        if normalizes and name.endswith("mlp.gate"):
            module.routed_scaling_factor = 1.0
            module.register_forward_hook(
                lambda module, inputs, out: (out[0], out[1] / (out[1].sum(-1, keepdim=True) + 1e-20), out[2])
            )
    return model


def phimoe_angles(module):
    """modeling_phimoe.py of Microsoft: the factors of the whole text follow its length."""
    rope = module.config.rope_parameters
    own = type(module).forward.__wrapped__

    def forward(x, position_ids):
        if rope["rope_type"] == "default":
            return own(module, x, position_ids)
        length = int(position_ids.max()) + 1
        is_long = length > rope["original_max_position_embeddings"]
        frequencies, _ = module.rope_init_fn(module.config, seq_len=length)
        angles = position_ids[..., None].float() * frequencies.float()
        angles = torch.cat([angles, angles], -1)
        scale = rope["long_mscale" if is_long else "short_mscale"]
        return (angles.cos() * scale).to(x.dtype), (angles.sin() * scale).to(x.dtype)

    return forward


def sparse_mixer_distance(logits, jitter):
    """The smallest distance that decided an expert of SparseMixer, or which of the others share its weight."""
    nearest, left = float("inf"), logits.clone()
    for _ in range(2):
        best, second = (left.topk(2).values).unbind(-1)
        shares = (best[:, None] - logits) / logits.abs().clamp(min=best[:, None]) - 2 * jitter
        nearest = min(nearest, (best - second).min().item(), shares.abs().min().item())
        left.scatter_(-1, left.argmax(-1, keepdim=True), -float("inf"))
    return nearest


class Reference:
    """transformers' model on the weights of a checkpoint, widened to dtype. forward is one whole pass without cache."""

    def __init__(self, folder, dtype=torch.float32, names={}):
        """names: replaced in the names of tensors before transformers sees them."""
        folder = pathlib.Path(folder)
        tensors = {}
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, "pt") as part:
                tensors |= {name: part.get_tensor(name) for name in part.keys()}
        is_plain = all(tensor.dtype.is_floating_point and tensor.dtype.itemsize > 1 for tensor in tensors.values())
        with tempfile.TemporaryDirectory() as copy:
            if not (is_plain and not names):  # what transformers reads only on an accelerator, or by other names
                config = json.loads((folder / "config.json").read_text())
                config.pop("quantization_config", None)
                (pathlib.Path(copy) / "config.json").write_text(json.dumps(config))
                plain = {renamed(name, names): tensor for name, tensor in dequantised(tensors).items()}
                save_file(plain, pathlib.Path(copy) / "model.safetensors", metadata={"format": "pt"})
                folder = copy
            model, loading = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager",
                output_loading_info=True)  # fmt: skip
        problems = {key: found for key, found in loading.items() if found and key != "unexpected_keys"}
        assert not problems, problems
        self.unexpected = set(loading["unexpected_keys"])
        self.model = patched(model.eval())
        self.routes = {}
        self.nearest = float("inf")  # smallest distance that decided a choice of experts
        for name, module in self.model.named_modules():
            if re.search("Top[kK]Router$", type(module).__name__):
                layer = int(re.search(r"layers\.(\d+)\.", name)[1])
                module.register_forward_hook(lambda module, inputs, out, layer=layer: self.note(layer, out))

    def note(self, layer, out):
        self.routes[layer] = (out[2].tolist(), out[1].tolist())
        if self.model.config.model_type == "phimoe":
            self.nearest = min(self.nearest, sparse_mixer_distance(out[0], self.model.config.router_jitter_noise))

    def forward(self, tokens):
        """Logits (tokens, vocabulary); self.routes has layer: (experts, weights), in order of selection."""
        self.routes = {}
        with watched_top_k() as nearest:
            logits = self.model(torch.tensor([tokens]), use_cache=False).logits[0]
        self.nearest = min(self.nearest, nearest[0])
        return logits
