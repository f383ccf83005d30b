"""Logits that come near one another, and what the router of transformers' PhiMoE makes of them in evaluation mode.

The router's gate is the identity, so that hidden states are logits. Some are negative, 0 or far from all others. The two
largest of a token are 1e-4 apart and no ratio is within 1e-4 of 2 jitter, so that rounding decides nothing.
usage: make_vectors.py > vectors.json        (transformers 5.24, torch 2)
"""

import pathlib
import sys

import torch
from transformers import PhimoeConfig
from transformers.models.phimoe.modeling_phimoe import PhimoeTopKRouter

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from official import flat, write  # noqa: E402


def is_decided(z, jitter):
    largest = z.sort(descending=True).values
    if (largest[:3] - largest[1:4]).min() < 1e-4:
        return False
    for best in largest[:2]:
        others = z[z != best]
        ratio = (best - others) / torch.maximum(others.abs(), best)
        if ((ratio - 2 * jitter).abs() < 1e-4).any():
            return False
    return True


@torch.no_grad()
def main():
    cases = []
    generator = torch.Generator().manual_seed(8)
    for experts, jitter, tokens in ((5, 0.01, 24), (11, 0.1, 24), (16, 0.0, 4)):
        config = PhimoeConfig(hidden_size=experts, num_local_experts=experts, router_jitter_noise=jitter)
        router = PhimoeTopKRouter(config).float().eval()
        router.weight.copy_(torch.eye(experts))
        rows = []
        while len(rows) < tokens:
            centre = [2.0, 0.5, -1.0, -3.0][len(rows) % 4]
            spread = centre * 3 * max(jitter, 0.01)
            z = centre + spread * torch.randn(experts, generator=generator)
            z[torch.randint(experts, (1,), generator=generator)] = [0.0, -6.0][len(rows) % 2]
            z = (z * 4096).round() / 4096
            if is_decided(z, jitter):
                rows.append(z)
        logits = torch.stack(rows)
        _, weights, ids = router(logits)
        cases.append({
            "experts": experts, "jitter": jitter, "logits": flat(logits),
            "ids": [int(i) for i in ids.flatten()], "weights": flat(weights),
        })
    write(cases)


main()
