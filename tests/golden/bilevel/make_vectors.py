#!/usr/bin/env python3
"""Vectors of bi-level routing attention from BiFormer's two official modules.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is rayleizhu/BiFormer at 1697bbbeafb8. Needs torch, einops, numpy. The modules run unchanged, in float64. Region
affinities nearest to each other are printed as `margin`: ties would make the choice of regions arbitrary.
"""
import json
import sys

import torch

CASES = [  # name, module, height, width, channels, heads, regions per side, top_k, kernel, automatic padding
    ("legacy_divisible", "legacy", 6, 6, 8, 2, 3, 2, 5, False),
    ("legacy_oblong", "legacy", 4, 6, 6, 3, 2, 1, 3, False),
    ("legacy_padded", "legacy", 5, 7, 6, 2, 3, 4, 5, True),
    ("legacy_all_regions", "legacy", 4, 4, 10, 5, 2, 4, 5, False),
    ("nchw_divisible", "nchw", 6, 6, 8, 2, 3, 2, 5, False),
    ("nchw_padded", "nchw", 9, 9, 6, 3, 2, 3, 5, False),
    ("nchw_padded_oblong", "nchw", 7, 5, 4, 2, 2, 2, 3, False),
    ("nchw_one_region", "nchw", 3, 3, 4, 1, 1, 1, 5, False),
]


def main():
    sys.path.insert(0, sys.argv[1])
    from ops.bra_legacy import BiLevelRoutingAttention
    from ops.bra_nchw import nchwBRA

    torch.set_default_dtype(torch.float64)
    out = []
    for number, (name, kind, height, width, channels, heads, regions, top_k, kernel, pad) in enumerate(CASES):
        torch.manual_seed(100 + number)
        if kind == "legacy":
            module = BiLevelRoutingAttention(channels, num_heads=heads, n_win=regions, topk=top_k, side_dwconv=kernel,
                                             auto_pad=pad)
            qkv, output = module.qkv.qkv, module.wo
        else:
            module = nchwBRA(channels, num_heads=heads, n_win=regions, topk=top_k, side_dwconv=kernel)
            qkv, output = module.qkv_linear, module.output_linear
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.5)
            image = torch.randn(1, height, width, channels)
            seen = []
            topk = torch.topk
            def watch(x, k, dim=-1, **rest):
                ordered = x.sort(dim=-1, descending=True).values
                if k < x.size(-1):
                    seen.append((ordered[..., k - 1] - ordered[..., k]).min().item())
                values = topk(x, k=k, dim=dim, **rest)
                seen.append(values.indices.flatten(0, -2).tolist())
                return values
            torch.topk = watch
            result = module(image) if kind == "legacy" else module(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            torch.topk = topk
        out.append({
            "name": name, "padding": {"legacy": "input" if pad else "strict", "nchw": "projected"}[kind],
            "height": height, "width": width, "channels": channels, "heads": heads, "regions_per_side": regions,
            "top_k": top_k, "kernel": kernel, "margin": seen[0] if len(seen) > 1 else None, "routed": seen[-1],
            "qkv": qkv.weight.flatten().tolist(), "qkv_bias": qkv.bias.tolist(),
            "output": output.weight.flatten().tolist(), "output_bias": output.bias.tolist(),
            "local": module.lepe.weight.flatten().tolist(), "local_bias": module.lepe.bias.tolist(),
            "image": image.flatten().tolist(), "expected": result.flatten().tolist(),
        })
    json.dump(out, sys.stdout, indent=None, separators=(",", ":"))


main()
