"""Tiny random qwen3_moe checkpoints, and what transformers computes with them.

usage: make_qwen3_moe.py FOLDER        (needs torch, transformers 5, safetensors; writes FOLDER/qwen3_moe_*)

Odd on purpose: head_dim 26, 7 or 5 experts, widths that are no multiples of 16, three query heads to a KV head, dense
layers among sparse ones, a vocabulary of 149. Weights are large enough for routes and attention to be far from uniform,
and epsilons of norms differ, two of them so large that another one gives other logits.
Logits are computed in float32 from the stored weights, one whole pass without cache for every greedy token.
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

PROMPT = [3, 141, 59, 26, 53, 58, 97]
STEPS = 64

SHARED = dict(vocab_size=149, head_dim=26, max_position_embeddings=96, bos_token_id=1, pad_token_id=0)
WIDE = dict(hidden_size=40, num_attention_heads=6, num_key_value_heads=2, num_hidden_layers=3, mlp_only_layers=[1],
            num_experts=7, num_experts_per_tok=3, moe_intermediate_size=20, intermediate_size=36)  # fmt: skip
NARROW = dict(hidden_size=24, num_attention_heads=3, num_key_value_heads=1, num_hidden_layers=4, decoder_sparse_step=2,
              num_experts=5, num_experts_per_tok=2, moe_intermediate_size=10, intermediate_size=18)  # fmt: skip

CHECKPOINTS = {
    "qwen3_moe_tied_bf16": dict(
        seed=1, dtype=torch.bfloat16, **WIDE, tie_word_embeddings=True, norm_topk_prob=True, eos_token_id=[2, 5],
        rms_norm_eps=1e-2, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
    "qwen3_moe_head_f32": dict(
        seed=2, dtype=torch.float32, **NARROW, tie_word_embeddings=False, norm_topk_prob=False, attention_bias=True,
        eos_token_id=2, rms_norm_eps=2e-2, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "qwen3_moe_stacked_f16": dict(
        seed=3, dtype=torch.float16, **NARROW | dict(num_experts=7, num_experts_per_tok=3), tie_word_embeddings=False,
        norm_topk_prob=True, eos_token_id=2, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
    "qwen3_moe_sharded_bf16": dict(
        seed=4, dtype=torch.bfloat16, **WIDE, tie_word_embeddings=False, norm_topk_prob=False, eos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
}  # fmt: skip


YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=24)


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            weight.data = 1.0 + 0.2 * noise
        elif name.endswith("bias"):
            weight.data = 0.3 * noise
        elif "embed_tokens" in name:
            weight.data = 0.3 * noise
        else:
            weight.data = noise * (2.0 / weight.shape[-1] ** 0.5)


def save(model, folder, name, dtype):
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size="60KB" if "sharded" in name else "5GB")


def finish(folder, name):
    """What transformers 5 no longer writes, but files in the world have."""
    config = json.loads((folder / "config.json").read_text())
    if "head_f32" in name:  # as transformers 4 wrote it
        config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
        config["rope_scaling"] = None
        config["torch_dtype"] = config.pop("dtype")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if "stacked" in name:
        stack(folder / "model.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)


def stack(path):
    """Experts as transformers 5 holds them in memory: gate_up_proj (E, 2 I, H) and down_proj (E, H, I)."""
    tensors = load_file(path)
    stacked = {}
    for name in sorted(tensors):
        prefix, found, rest = name.partition(".mlp.experts.")
        if not found:
            stacked[name] = tensors[name]
        elif rest == "0.gate_proj.weight":
            count = sum(1 for n in tensors if n.startswith(prefix + found) and n.endswith("gate_proj.weight"))
            part = lambda e, kind: tensors[f"{prefix}{found}{e}.{kind}_proj.weight"]
            stacked[f"{prefix}{found}gate_up_proj"] = torch.stack(
                [torch.cat([part(e, "gate"), part(e, "up")]) for e in range(count)])
            stacked[f"{prefix}{found}down_proj"] = torch.stack([part(e, "down") for e in range(count)])
    save_file(stacked, path, metadata={"format": "pt"})


@torch.no_grad()
def expected(model):
    tokens = list(PROMPT)
    margin = float("inf")
    for step in range(STEPS):
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
        if step == 0:
            prompt_logits = logits
        best = torch.topk(logits[-1], 2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
    last = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
    rounded = lambda row: [float(f"{x:.7g}") for x in row.tolist()]
    return {
        "prompt": PROMPT,
        "greedy": tokens[len(PROMPT):],
        "min_margin": margin,
        "logits": [rounded(row) for row in prompt_logits],
        "logits_last": rounded(last),
    }  # fmt: skip


def with_rope(folder, parameters):
    config = Qwen3MoeConfig.from_pretrained(folder)
    config.rope_parameters = config.rope_parameters | parameters
    model = Qwen3MoeForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32,
                                                attn_implementation="eager").eval()
    model.set_experts_implementation("eager")
    return model


def main():
    root = pathlib.Path(sys.argv[1])
    for name, options in CHECKPOINTS.items():
        options = dict(options)
        seed, dtype = options.pop("seed"), options.pop("dtype")
        model = Qwen3MoeForCausalLM._from_config(Qwen3MoeConfig(**SHARED, **options))
        randomize(model, seed)
        model.tie_weights()
        folder = root / name
        save(model, folder, name, dtype)
        # Read again: casting the model would have rounded the frequencies of its rotary embedding too.
        model = Qwen3MoeForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        model.set_experts_implementation("eager")  # the others want aligned widths
        (folder / "expected.json").write_text(json.dumps(expected(model)) + "\n")
        if "head_f32" in name:  # with the settings that Qwen's model cards recommend for long texts
            (folder / "expected_yarn.json").write_text(json.dumps(expected(with_rope(folder, YARN))) + "\n")
        finish(folder, name)
        size = sum(file.stat().st_size for file in (root / name).iterdir())
        print(name, size, "bytes")


main()
