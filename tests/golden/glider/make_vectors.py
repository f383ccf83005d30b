#!/usr/bin/env python3
"""Weights of the experts by the routers of PHATGOOSE and of Glider, and experts of sentences by nearest embedding.

    python make_vectors.py PHATGOOSE GLIDER > vectors.json

PHATGOOSE is r-three/phatgoose at 4fd579099f01: Router of moe.py runs unchanged, its
embeddings put in place; the two best of what it returns are taken as FFNExperts does it, divided by their sum + 1e-6. GLIDER is
UNITES-Lab/glider at 439b49e623d7: MoLoRALinearLayer of layers.py runs unchanged over experts that give back their own
unit vector and a base layer of zeros, so that its output is the matrix of weights. gin, which configures PHATGOOSE, is
not there; its decorator gives back the class.
"""
import os
import sys
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

HIDDEN, TOKENS, TASK = 12, 7, 6


class Unit(torch.nn.Module):
    def __init__(self, place, width):
        super().__init__()
        self.unit = torch.nn.functional.one_hot(torch.tensor(place), width).float()

    def forward(self, x):
        return self.unit.expand(len(x), -1)


def gin():
    module = types.ModuleType("gin")
    module.configurable = lambda *args, **options: args[0] if args else lambda of: of
    sys.modules["gin"] = module


def phatgoose(moe, experts, generator):
    router = moe.Router(None, {}, None, None, moe.MoELink(), HIDDEN)
    rows = official.dyadic(experts, HIDDEN, generator=generator)
    router.num_experts, router.expert_embeddings = experts, torch.nn.Parameter(rows)
    x = official.dyadic(1, TOKENS, HIDDEN, generator=generator)
    with torch.no_grad():
        scores = router._forward(x)[0]
        weights, ids = scores.topk(2, dim=-1)
        weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-6)
    return {"gate": official.flat(rows), "hidden": official.flat(x), "ids": ids.flatten().tolist(),
            "weights": official.flat(weights), "margin": official.margin(scores, 2)}


def glider(layers, experts, beta, generator, top_p=1.0, least=1):
    layer = layers.MoLoRALinearLayer("default", HIDDEN, experts, 2, top_p, True, 2, 2, 0.0, experts, bias=False)
    layer.lora_experts["default"] = torch.nn.ModuleList([Unit(e, experts) for e in range(experts)])
    task = official.dyadic(1, TASK, generator=generator)
    embeddings = official.dyadic(experts, TASK, generator=generator)
    x = official.dyadic(1, TOKENS, HIDDEN, generator=generator)
    with torch.no_grad():
        layer.weight.zero_()
        gate = layer.lora_gate["default"].weight
        gate.copy_(official.dyadic(*gate.shape, generator=generator))
        layer.routing_bias = torch.nn.functional.cosine_similarity(embeddings, task)  # update_routing_bias of model.py
        layer.bias_routing_scale = beta
        layer.min_experts_to_keep = least
        weights = layer(x)[0]
    scores = layer.last_router_logits[0].softmax(dim=-1)
    sums = scores.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    return {"top_p": top_p, "least": least, "decided": {"margin": 1.0 if top_p == 1.0 else (sums - top_p)[:, :-1].abs().min().item()},
            "gate": official.flat(gate), "hidden": official.flat(x), "task": official.flat(task),
            "embeddings": official.flat(embeddings), "beta": beta, "weights": official.flat(weights),
            "margin": official.margin(layer.last_router_logits[0], 2)}


def sentences(moe, experts, each, generator):
    router = moe.Router(None, {}, None, None, moe.MoELink(), HIDDEN, is_retriever=True)
    rows = official.dyadic(experts, each * HIDDEN, generator=generator)
    router.num_experts, router.expert_embeddings = experts, torch.nn.Parameter(rows)
    x = official.dyadic(TOKENS, HIDDEN, generator=generator)
    with torch.no_grad():
        chosen = router._forward(x)
        cosine = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(rows.view(-1, HIDDEN)).T
    return {"embeddings": official.flat(rows), "each": each, "hidden": official.flat(x),
            "ids": chosen.argmax(dim=-1).tolist(), "margin": official.margin(cosine, 1)}


def main():
    gin()
    root = sys.argv[1]
    sys.path.insert(0, root)
    for package in ("src", "src.models", "src.models.addons"):
        module = types.ModuleType(package)
        module.__path__ = [os.path.join(root, *package.split("."))]
        sys.modules[package] = module
    moe = official.importlib.import_module("src.models.addons.moe")
    layers = official.load(os.path.join(sys.argv[2], "src", "peft", "tuners", "molora"), "layers", "molora")
    official.write({
        "phatgoose": [official.decided(lambda g: phatgoose(moe, n, g), 17000 + n) for n in (5, 11)],
        "glider": [official.decided(lambda g: glider(layers, n, beta, g), 17100 + n)
                   for n, beta in ((5, 0.0), (5, 3.0), (11, 1000.0))],
        "top_p": [official.decided(lambda g: glider(layers, n, 0.5, g, top_p, least), 17300 + n)
                  for n, top_p, least in ((5, 0.6, 1), (7, 0.4, 3))],
        "sentences": [official.decided(lambda g: sentences(moe, n, each, g), 17200 + n)
                      for n, each in ((5, 1), (3, 4))],
    })


main()
