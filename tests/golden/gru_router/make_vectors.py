#!/usr/bin/env python3
"""States, logits and routes of RMoE's recurrent router over three layers, in float64.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is qiuzh20/RMoE at 9913a7f712f8. As published its cells cannot be constructed: they pass config= to
torch.nn.Module, which takes none, and need config.init_method. The script lets Module ignore the argument while they are
made and fills the parameters itself. What surrounds the cell (linear, cell, linear, softmax, top k, / sum) are the lines
of LlamaSparseMoeBlock.forward. The GRU cell must agree with torch.nn.GRUCell.
"""
import os
import sys
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, SIZE, EXPERTS, K, TOKENS, LAYERS = 10, 7, 5, 2, 6, 3


def vector(kind, cell_of, generator):
    made = torch.nn.Module.__init__
    torch.nn.Module.__init__ = lambda self, config=None: made(self)
    try:
        cell = cell_of(types.SimpleNamespace(moe_router_rnn_hidden_size=SIZE, init_method=lambda p: None))
    finally:
        torch.nn.Module.__init__ = made
    official.fill(cell, 0.6, generator)
    gates = "rzn" if kind == "gru" else "n"
    packed = {part: torch.cat([getattr(cell, f"{part[:-1]}{part[-1]}{g}") for g in gates])
              for part in ("weight_i", "weight_h", "bias_i", "bias_h")}
    theirs = torch.nn.GRUCell(SIZE, SIZE) if kind == "gru" else torch.nn.RNNCell(SIZE, SIZE)
    with torch.no_grad():
        for ours, part in (("weight_ih", "weight_i"), ("weight_hh", "weight_h"), ("bias_ih", "bias_i"),
                           ("bias_hh", "bias_h")):
            getattr(theirs, ours).copy_(packed[part])
    layers, h = [], None
    with torch.no_grad():
        for _ in range(LAYERS):
            weight1 = official.dyadic(SIZE, HIDDEN, scale=0.5, generator=generator)
            weight2 = official.dyadic(EXPERTS, SIZE, scale=1.5, generator=generator)
            hidden = official.dyadic(TOKENS, HIDDEN, generator=generator)
            u = torch.nn.functional.linear(hidden, weight1)
            of_torch = theirs(u) if h is None else theirs(u, h)
            h = cell(u) if h is None else cell(u, h)
            assert (h - of_torch).abs().max() < 1e-15
            logits = torch.nn.functional.linear(h, weight2)
            weights, ids = torch.topk(logits.softmax(-1), K, dim=-1)
            layers.append({
                "weight1": official.flat(weight1), "weight2": official.flat(weight2),
                "hidden": official.flat(hidden), "h": official.flat(h), "logits": official.flat(logits),
                "ids": ids.flatten().tolist(), "weights": official.flat(weights / weights.sum(-1, keepdim=True)),
                "margin": official.margin(logits.softmax(-1), K),
            })
    return {"kind": kind, "weight_ih": official.flat(packed["weight_i"]),
                "weight_hh": official.flat(packed["weight_h"]), "bias_ih": official.flat(packed["bias_i"]),
                "bias_hh": official.flat(packed["bias_h"]), "layers": layers}


def main():
    rnn = official.load(os.path.join(sys.argv[1], "llama_moe_rnn"), "rnn")
    torch.set_default_dtype(torch.float64)
    official.write([official.decided(lambda g: vector(*case, g), 7000 + 100 * i)
                    for i, case in enumerate([("gru", rnn.CustomGRUCell), ("rnn", rnn.CustomRNNCell)])])


main()
