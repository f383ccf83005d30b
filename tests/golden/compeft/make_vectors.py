#!/usr/bin/env python3
"""Vectors compressed as ComPEFT does it.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is prateeky2806/ComPEFT at d80ba585818e. Which elements stay is topk_values_mask of its merge_utils.py,
called with the settings of bert_eval.py; scale and sign are that script's two lines, for it does not run: it takes two of
the three values that the function returns, which takes a vector as one row alone. Numbers are multiples of 1/64,
so that some are equal.
"""
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

SHAPES = [(3, 10), (7, 3)]
CASES = [(0.05, 1.0), (0.2, 4.0), (0.5, 0.5)]  # density, alpha


def vector(topk, density, alpha, generator):
    parts = [official.dyadic(*shape, scale=0.25, generator=generator) for shape in SHAPES]
    flat = torch.cat([part.flatten() for part in parts])
    kept = topk(flat[None], K=density, return_mask=True)[0][0]
    return {"density": density, "alpha": alpha, "parts": [official.flat(part) for part in parts],
            "compressed": official.flat(alpha * flat.std() * kept.sign())}


def main():
    from transformers import AutoModelForSeq2SeqLM  # noqa: F401, before its optional parts are stood in for
    official.absent("matplotlib", "matplotlib.pyplot", "scipy", "scipy.stats", "src", "src.utils",
                    "src.utils.analysis_utils")
    topk = official.load(os.path.join(sys.argv[1], "src"), "merge_utils").topk_values_mask
    generator = torch.Generator().manual_seed(17)
    official.write([vector(topk, *case, generator) for case in CASES])


main()
