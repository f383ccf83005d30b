#!/usr/bin/env python3
"""Logits and experts of Read-ME's pre-gate, over whole texts.

    python make_vectors.py CHECKOUT > vectors.json

CHECKOUT is VITA-Group/READ-ME at 1df7e684d4f5, a fork of transformers that does not import with today's torch. So the
script takes out of modeling_llama.py, by name, the class of the router (cluster_predictor_class, defined within
LlamaForCausalLM.add_cluster_predictor) and the norm, the rotary embedding and its two functions that it uses, and runs
them. Norms and the softmax are float32 in that code, so everything is. The path of full_input_ids, token by token, must
give the logits of the whole text, with one layer: with two that path forgets the text after the first and fails.
"""
import ast
import copy
import os
import sys
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import official  # noqa: E402

VOCABULARY, TOKENS, EXPERTS = 9, 8, 5
NEEDED = {"LlamaRMSNorm", "LlamaRotaryEmbedding", "rotate_half", "apply_rotary_pos_emb", "cluster_predictor_class"}


def take_out(path):
    source = open(path).read()
    names = {"torch": torch, "nn": torch.nn, "copy": copy, "math": __import__("math"),
             "ACT2FN": {"silu": torch.nn.functional.silu, "relu": torch.nn.functional.relu},
             "logger": types.SimpleNamespace(warning_once=lambda *_: None)}
    nodes = [n for n in ast.walk(ast.parse(source))
             if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and n.name in NEEDED]
    for node in sorted(nodes, key=lambda n: n.lineno):
        exec(compile(ast.Module([node], []), path, "exec"), names)
    return names["cluster_predictor_class"]


def vector(router_class, width, heads, layers, activation, normalizer, generator):
    table = official.dyadic(VOCABULARY, width + 3, generator=generator)
    router = router_class(types.SimpleNamespace(rope_theta=10000.0), embedding_dim=width, inter_dim=width,
                          N_cluster=EXPERTS, hidden_act=activation, vocab_size=VOCABULARY, max_position_embeddings=64,
                          embed_weight_init=table[:, :width].clone(), n_layer=layers, n_head=heads,
                          normalizer=normalizer)
    embedding = router.embed.weight.data.clone()
    official.fill(router, 0.4, generator)
    router.embed.weight.data = embedding
    ids = torch.randint(0, VOCABULARY, (1, TOKENS), generator=generator)
    with torch.no_grad():
        logits = router(ids, torch.arange(TOKENS)[None])
        for t in range(TOKENS if layers == 1 else 0):
            one = router(ids[:, t:t + 1], None, generation=True, full_input_ids=ids[:, :t + 1])
            assert (one[0, 0] - logits[0, t]).abs().max() < 1e-5
    return {"width": width, "heads": heads, "activation": activation, "normalizer": normalizer,
            "table": official.flat(table), "ids": ids.flatten().tolist(), "logits": official.flat(logits),
            "experts": logits.argmax(-1).flatten().tolist(), "margin": official.margin(logits[0], 1),
            "layers": [{part: official.flat(router.get_parameter(f"{name}_{i}.{kind}"))
                        for name in ("input_layernorm", "post_attention_layernorm", "q_proj", "k_proj", "v_proj",
                                     "o_proj", "proj_1", "proj_2")
                        for kind in (["weight"] if "norm" in name else ["weight", "bias"])
                        for part in [f"{name}.{kind}"]} for i in range(layers)],
            "out_layernorm": official.flat(router.out_layernorm.weight),
            "proj_out.weight": official.flat(router.proj_out.weight),
            "proj_out.bias": official.flat(router.proj_out.bias)}


def main():
    router_class = take_out(os.path.join(sys.argv[1], "src/transformers/models/llama/modeling_llama.py"))
    shapes = [(12, 2, 1, "silu", 1.0), (14, 1, 2, "relu", 3.0)]
    official.write([official.decided(lambda g: vector(router_class, *shape, g), 9000 + 100 * i)
                    for i, shape in enumerate(shapes)])


main()
