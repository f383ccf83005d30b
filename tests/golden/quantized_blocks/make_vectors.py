"""Quantized blocks as the gguf package from PyPI decodes them, as bits of floats.

Bytes follow from a seed (byte_stream), so that they need not be written down; an exponent of a half that would make it
infinite or no number loses its highest bit. Of 2,000 blocks a type one hash of all bits is written (FNV-1a over words),
the first and the last block in full.
usage: make_vectors.py > vectors.json        (gguf 0.17 or later)
"""

import json
import sys

import gguf
import numpy

COUNT = 2000
HALVES = {  # where the scales of a block are
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}


def byte_stream(seed, count):
    state, out = seed, bytearray()
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(state >> 24)
    return out


def fnv1a(words):
    value = 0xCBF29CE484222325
    for word in words:
        value = ((value ^ word) * 0x100000001B3) % 2**64
    return value


def main():
    vectors = {}
    for seed, (name, halves) in enumerate(HALVES.items(), 1):
        kind = gguf.GGMLQuantizationType[name]
        size, width = gguf.GGML_QUANT_SIZES[kind]
        raw = byte_stream(seed, COUNT * width)
        for block in range(COUNT):
            for half in halves:
                high = block * width + half + 1
                if raw[high] & 0x7C == 0x7C:
                    raw[high] &= 0xBF
        blocks = numpy.frombuffer(bytes(raw), dtype=numpy.uint8).reshape(COUNT, width)
        with numpy.errstate(over="ignore"):
            bits = gguf.quants.dequantize(blocks, kind).astype(numpy.float32).view(numpy.uint32).reshape(COUNT, size)
        vectors[name] = {
            "seed": seed, "halves": halves, "hash": f"{fnv1a(bits.flatten().tolist()):016x}",
            "first": bits[0].tolist(), "last": bits[-1].tolist(),
        }
    json.dump(vectors, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
