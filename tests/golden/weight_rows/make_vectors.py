"""Weights of four and eight bits as transformers' own code unpacks them, as bits of floats.

The bytes that are unpacked follow from their place (byte_at), so that they need not be written down. A matrix of eight
bits is (130, 150): its blocks of 128 x 128 are cut short on both sides; some of its rows are written.
usage: make_vectors.py > vectors.json        (transformers 5.24, torch 2)
"""

import json
import sys

import torch
from transformers.integrations.finegrained_fp8 import _dequantize_fp8_weight
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

ROWS, COLS, WRITTEN = 130, 150, (0, 63, 127, 128, 129)
SCALES = [[0.0123, -3.5], [1.0e-30, 7.25]]
EXPERTS, MX_ROWS, MX_BLOCKS = 2, 3, 3
EXPONENTS = [0, 1, 2, 3, 100, 118, 125, 126, 127, 128, 129, 140, 200, 250, 251, 252, 110, 120]


def byte_at(i):
    return (i * 37 + i // 256 * 11) % 256


def bits(tensor):
    return tensor.contiguous().view(torch.int32).flatten().tolist()


def eight_bits(dtype, not_numbers):
    raw = [byte_at(i) for i in range(ROWS * COLS)]
    raw = [0x40 if b in not_numbers else b for b in raw]
    weight = torch.tensor(raw, dtype=torch.uint8).view(ROWS, COLS).view(dtype)
    values = _dequantize_fp8_weight(weight, torch.tensor(SCALES), [128, 128], torch.float32)
    return {str(r): bits(values[r]) for r in WRITTEN}


def main():
    count = EXPERTS * MX_ROWS * MX_BLOCKS
    blocks = torch.tensor([byte_at(i) for i in range(count * 16)], dtype=torch.uint8)
    scales = torch.tensor(EXPONENTS, dtype=torch.uint8)
    values = convert_moe_packed_tensors(
        blocks.view(EXPERTS, MX_ROWS, MX_BLOCKS, 16), scales.view(EXPERTS, MX_ROWS, MX_BLOCKS), dtype=torch.float32
    )  # (experts, cols, rows): it also transposes
    cases = {
        "f8_e4m3": eight_bits(torch.float8_e4m3fn, (0x7F, 0xFF)),
        "f8_e5m2": eight_bits(torch.float8_e5m2, (0x7C, 0x7D, 0x7E, 0x7F, 0xFC, 0xFD, 0xFE, 0xFF)),
        "scales": SCALES,
        "exponents": EXPONENTS,
        "mxfp4": bits(values.transpose(1, 2)),
    }
    json.dump(cases, sys.stdout, separators=(",", ":"))
    print()


main()
