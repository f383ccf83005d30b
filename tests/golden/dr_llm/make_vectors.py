#!/usr/bin/env python3
"""Scores and choices of the routers of layers in Dr.LLM's LlamaModel, in float64.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is parameterlab/dr-llm at 14e88373302f. Its forward runs as it is but for construction: the file is imported as a
part of transformers, its output takes the fields that it is given, the attribute that it reads and never sets
(router_penalty) is that of the router alone, and layers are stand-ins without positions whose output is easy to say.
"""
import contextlib
import importlib.util
import os
import sys
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, LAYERS = 12, 5


class Layer(torch.nn.Module):
    def forward(self, x, **_):
        return x * 0.75 + x.roll(1, dims=-1) * 0.5


def load(checkout):
    import transformers.models.llama.modeling_llama  # noqa: F401
    official.lend("transformers.utils.generic", check_model_inputs=lambda f: f)
    official.lend("transformers.utils.deprecation", deprecate_kwarg=lambda *_, **__: lambda f: f)
    path = os.path.join(checkout, "models", "modeling_llama.py")
    spec = importlib.util.spec_from_file_location("transformers.models.llama.dr_llm", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with contextlib.redirect_stdout(sys.stderr):  # what transformers misses in its comments
        spec.loader.exec_module(module)
    module.create_causal_mask = lambda **_: None
    module.LlamaRotaryEmbedding = lambda config: lambda *_: None
    module.BaseModelOutputWithPast = types.SimpleNamespace
    return module


def vector(module, tokens, generator):
    from transformers import LlamaConfig
    config = LlamaConfig(hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=4, vocab_size=8)
    config._attn_implementation = "eager"
    model = module.LlamaModel(config)
    model.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
    model.router_penalty = -0.5
    model.routers = torch.nn.ModuleList(module.RouterBlock(HIDDEN, hidden_dim=9) for _ in range(LAYERS))
    official.fill(model.routers, 0.8, generator)
    x = official.dyadic(1, tokens, HIDDEN, generator=generator)
    with torch.no_grad():
        out = model(inputs_embeds=x, use_cache=False)
        entering, rows = [], x
        for choice in out.decisions:
            entering.append(official.flat(rows[0]))
            for _ in range(choice):
                rows = Layer()(rows)
    scores = [z.flatten() for z in out.all_decision_logits]
    return {
        "tokens": tokens, "margin": min(official.margin(z, 1) for z in scores), "choices": out.decisions,
        "scores": [official.flat(z) for z in scores], "x": entering,
        "routers": [{name: official.flat(value) for name, value in r.state_dict().items()} for r in model.routers],
    }


def main():
    module = load(sys.argv[1])
    torch.set_default_dtype(torch.float64)
    official.write([official.decided(lambda g: vector(module, tokens, g), 5100 + 100 * tokens) for tokens in (1, 5, 19)])


main()
