"""How far the weights that the gguf package quantizes are from what they were: sums of squared differences.

Random weights follow from a seed (random_weights); real ones are the first of tensors of examples/models/tales.
usage: make_vectors.py > vectors.json        (gguf 0.17 or later, safetensors, torch)
"""

import json
import pathlib
import sys

import gguf
import numpy
from safetensors import safe_open

COUNT = 1 << 14
TENSORS = ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
           "model.layers.3.mlp.experts.5.down_proj.weight"]
TALES = pathlib.Path(__file__).resolve().parents[3] / "examples/models/tales/model.safetensors"


def random_weights(seed):
    """Sums of four uniform numbers of 16 bits: exact in floats."""
    state, out = seed, []
    for _ in range(COUNT):
        total = 0
        for _ in range(4):
            state = (state * 1664525 + 1013904223) % 2**32
            total += state >> 16
        out.append((total - 2 * 65535) * 2.0**-20)
    return numpy.array(out, dtype=numpy.float32)


def main():
    inputs = {"seed 1": random_weights(1)}
    with safe_open(TALES, "pt") as file:
        for name in TENSORS:
            inputs[name] = file.get_tensor(name).float().numpy().reshape(-1)[:COUNT]
    errors = {}
    for kind in ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]:
        quant = gguf.GGMLQuantizationType[kind]
        for name, values in inputs.items():
            back = gguf.quants.dequantize(gguf.quants.quantize(values, quant), quant)
            error = numpy.sum((values.astype(numpy.float64) - back.astype(numpy.float64)) ** 2)
            errors.setdefault(kind, {})[name] = float(error)
    json.dump(errors, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
