#!/usr/bin/env python3
"""Adapters of the tiny checkpoints of golden/families, and the logits that PEFT and transformers compute with both.

    python make_models.py FOLDER

writes FOLDER/<checkpoint>/{adapter_config.json,adapter_model.safetensors,expected.json}: the prompt is the checkpoint's own;
logits of all its positions in float64. Made with peft 0.21.2, transformers 5.24, torch 2.15.
"""
import json
import os
import pathlib
import sys
import tempfile

import peft
import torch

golden = pathlib.Path(__file__).resolve().parent.parent
sys.path += [str(golden), str(golden / "families")]
import official  # noqa: E402
from reference import Reference, write_weights  # noqa: E402

CASES = {
    "olmoe_bf16": dict(r=3, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]),
    "deepseek_v3_groups_bf16": dict(r=2, lora_alpha=3, use_rslora=True, target_modules=[
        "q_a_proj", "q_b_proj", "q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]),
    "llama_f32": dict(r=2, lora_alpha=4, target_modules="all-linear", rank_pattern={"gate_proj": 5}),
}  # fmt: skip


def make(name, settings, folder, seed):
    generator = torch.Generator().manual_seed(seed)
    source = golden / "families" / name
    with tempfile.TemporaryDirectory() as copy:
        files = json.loads((source / "tensors.json").read_text())["files"]
        (pathlib.Path(copy) / "config.json").write_text((source / "config.json").read_text())
        write_weights(pathlib.Path(copy), [(file["name"], file["tensors"]) for file in files])
        reference = Reference(copy, torch.float64)
    prompt = json.loads((source / "expected.json").read_text())["prompt"]
    plain = reference.forward(prompt)
    reference.nearest = float("inf")
    adapted = peft.get_peft_model(reference.model, peft.LoraConfig(**settings), autocast_adapter_dtype=False)
    lora = [p for n, p in adapted.named_parameters() if "lora_" in n]
    with torch.no_grad():
        for parameter in lora:
            scale = 1.0 / parameter.shape[-1] ** 0.5
            parameter.copy_(official.dyadic(*parameter.shape, scale=scale, generator=generator))
            parameter.data = parameter.data.float()
        adapted.save_pretrained(folder)
        os.remove(folder / "README.md")
        config = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": None}
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        for parameter in lora:
            parameter.data = parameter.data.double()
        reference.model = adapted
        logits = reference.forward(prompt)
    change = (logits - plain).abs().max().item()
    rows = [[float(f"{value:.7g}") for value in row] for row in logits.tolist()]
    expected = {"prompt": prompt, "logits": rows, "nearest_route": min(reference.nearest, 1e9)}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"{name}: {len(lora) // 2} modules, nearest route {expected['nearest_route']:.1e}, largest change {change:.2f}")
    return expected["nearest_route"]


def main():
    for name, settings in CASES.items():
        folder = pathlib.Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(1, 20):
            if make(name, settings, folder, seed) >= 2e-5:
                break


if __name__ == "__main__":
    main()
