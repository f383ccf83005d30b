"""Tiny random headgate_moe checkpoints, and what a plain float64 script computes with them.

usage: make_headgate_moe.py FOLDER [NAME ...]     (needs what reference.py needs; writes FOLDER/NAME/*)

The format belongs to this project, so nobody else computes it: below are the equations of its definition
(include/headgate/models/headgate_moe.hpp) in numpy, one whole pass for every greedy token. Files and keys are those of
make_families.py, where routes may have fewer experts in a row than in the next.
"""

import json
import pathlib
import sys

import numpy
from make_families import tensors_json
from reference import hash_of_weights, natural, outputs, refilled, values

PROMPT = 24
STEPS = 96
COMMON = dict(
    architectures=["HeadgateMoeForCausalLM"], model_type="headgate_moe", vocab_size=131, bos_token_id=1, eos_token_id=None,
    max_position_embeddings=160, hidden_act="silu", rope_theta=10000.0, dtype="float32")  # fmt: skip
WIDE = COMMON | dict(
    hidden_size=42, num_attention_heads=6, num_key_value_heads=2, head_dim=24, moe_intermediate_size=20,
    intermediate_size=36, num_hidden_layers=3, num_experts=11, mlp_only_layers=[1], rms_norm_eps=1e-2,
    tie_word_embeddings=False, attention=dict(type="dense"))  # fmt: skip
NARROW = COMMON | dict(
    hidden_size=27, num_attention_heads=3, num_key_value_heads=1, head_dim=14, moe_intermediate_size=13,
    intermediate_size=36, num_hidden_layers=3, num_experts=5, mlp_only_layers=[], rms_norm_eps=1e-5,
    tie_word_embeddings=True, attention=dict(type="dense"))  # fmt: skip

CHECKPOINTS = {
    "headgate_moe_ladder_f32": WIDE | dict(
        router=dict(type="top_k_softmax", k=3, normalize=True), residual=dict(type="ladder")),
    "headgate_moe_ladder_gru_f32": NARROW | dict(
        router=dict(type="gru", k=2, state_size=9, normalize=False), residual=dict(type="ladder")),
    "headgate_moe_dynmoe_f32": WIDE | dict(router=dict(type="dynmoe")),
    "headgate_moe_cosine_f32": NARROW | dict(router=dict(type="cosine", k=3, proj_size=9)),
    "headgate_moe_longcat_f32": WIDE | dict(
        router=dict(type="longcat", zero_experts=4, k=3, scale=1.5), residual=dict(type="ladder")),
}  # fmt: skip


def shapes_of(c):
    hidden, size, inner = c["hidden_size"], c["head_dim"], c["moe_intermediate_size"]
    queries, keys = c["num_attention_heads"] * size, c["num_key_value_heads"] * size
    shapes = {"model.embed_tokens.weight": [c["vocab_size"], hidden], "model.norm.weight": [hidden]}
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = [c["vocab_size"], hidden]
    network = lambda width: dict(gate_proj=[width, hidden], up_proj=[width, hidden], down_proj=[hidden, width])
    for layer in range(c["num_hidden_layers"]):
        own = {"input_layernorm": [hidden], "post_attention_layernorm": [hidden], "self_attn.q_norm": [size],
               "self_attn.k_norm": [size], "self_attn.q_proj": [queries, hidden], "self_attn.k_proj": [keys, hidden],
               "self_attn.v_proj": [keys, hidden], "self_attn.o_proj": [hidden, queries]}  # fmt: skip
        if layer in c["mlp_only_layers"]:
            own |= {"mlp." + name: shape for name, shape in network(c["intermediate_size"]).items()}
        else:
            for e in range(c["num_experts"]):
                own |= {f"mlp.experts.{e}.{name}": shape for name, shape in network(inner).items()}
            own |= gate_shapes(c)
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in own.items()}
        if layer not in c["mlp_only_layers"]:
            shapes |= {f"model.layers.{layer}.mlp.gate.{name}": shape for name, shape in gate_vectors(c).items()}
    if c["router"]["type"] == "gru":
        n = c["router"]["state_size"]
        shapes |= {f"model.router_gru.weight_{way}": [3 * n, n] for way in ("ih", "hh")}
        shapes |= {f"model.router_gru.bias_{way}": [3 * n] for way in ("ih", "hh")}
    return shapes


def gate_shapes(c):
    if c["router"]["type"] == "gru":
        n = c["router"]["state_size"]
        return {"mlp.gate": [c["num_experts"], n], "mlp.gate.proj": [n, c["hidden_size"]]}
    if c["router"]["type"] == "cosine":
        size = c["router"]["proj_size"]
        return {"mlp.gate": [c["num_experts"], size], "mlp.gate.proj": [size, c["hidden_size"]]}
    return {"mlp.gate": [c["num_experts"] + c["router"].get("zero_experts", 0), c["hidden_size"]]}


def gate_vectors(c):
    return {
        "dynmoe": {"gates": [c["num_experts"]], "temperature": [1]},
        "cosine": {"proj.bias": [c["router"].get("proj_size")], "temperature": [1]},
        "longcat": {"e_score_correction_bias": [c["num_experts"] + c["router"].get("zero_experts", 0)]},
    }.get(c["router"]["type"], {})


FILLED = {"gates": {"offset": 0.0, "scale": 0.25}, "temperature": {"offset": 1.5, "scale": 0.25}}


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def softmax(x):
    weights = numpy.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


class Reference:
    def __init__(self, config, weights):
        self.c, self.w = config, weights
        self.nearest = float("inf")

    def norm(self, name, x):
        return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w[name + ".weight"]

    def linear(self, name, x):
        return x @ self.w[name + ".weight"].T

    def turned(self, x):
        """x (tokens, heads, head_dim); pairs are half a head apart."""
        half = x.shape[-1] // 2
        angle = numpy.arange(len(x))[:, None] * self.c["rope_theta"] ** (-numpy.arange(half) / half)
        cosine, sine = numpy.cos(angle)[:, None], numpy.sin(angle)[:, None]
        low, high = x[..., :half], x[..., half:]
        return numpy.concatenate([low * cosine - high * sine, high * cosine + low * sine], -1)

    def attention(self, name, x):
        heads = lambda part: self.linear(f"{name}.{part}_proj", x).reshape(len(x), -1, self.c["head_dim"])
        q, k = (self.turned(self.norm(f"{name}.{part}_norm", heads(part))) for part in "qk")
        v, group = heads("v"), q.shape[1] // k.shape[1]
        out = numpy.zeros_like(q)
        for h in range(q.shape[1]):
            scores = q[:, h] @ k[:, h // group].T / numpy.sqrt(self.c["head_dim"])
            scores[numpy.triu_indices(len(x), 1)] = -numpy.inf
            out[:, h] = softmax(scores) @ v[:, h // group]
        return self.linear(name + ".o_proj", out.reshape(len(x), -1))

    def network(self, name, x):
        gate = self.linear(name + ".gate_proj", x)
        return self.linear(name + ".down_proj", gate * sigmoid(gate) * self.linear(name + ".up_proj", x))

    def chosen(self, keys, k):
        order = numpy.argsort(-keys, kind="stable")
        if k < len(keys):
            self.nearest = min(self.nearest, keys[order[k - 1]] - keys[order[k]])
        return order[:k]

    def cosines(self, name, x):
        unit = lambda rows: rows / numpy.linalg.norm(rows, axis=-1, keepdims=True)
        scale = numpy.exp(min(self.w[name + ".temperature"][0], numpy.log(100)))
        return scale * unit(x) @ unit(self.w[name + ".weight"]).T, scale

    def scores(self, name, x):
        if self.c["router"]["type"] == "cosine":
            return softmax(self.cosines(name, self.linear(name + ".proj", x) + self.w[name + ".proj.bias"])[0])
        if self.c["router"]["type"] == "gru":
            g = {key: self.w["model.router_gru." + key] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            inputs = numpy.split(self.linear(name + ".proj", x) @ g["weight_ih"].T + g["bias_ih"], 3, -1)
            states = numpy.split(self.state @ g["weight_hh"].T + g["bias_hh"], 3, -1)
            reset, update = sigmoid(inputs[0] + states[0]), sigmoid(inputs[1] + states[1])
            new = numpy.tanh(inputs[2] + reset * states[2])
            x = self.state = (1 - update) * new + update * self.state
        return softmax(self.linear(name, x))

    def chosen_by_threshold(self, keys):
        """Best first; the best one where none is above 0."""
        order = numpy.argsort(-keys, kind="stable")
        distances = numpy.abs(keys).tolist() + (keys[order[:-1]] - keys[order[1:]]).tolist()
        self.nearest = min(self.nearest, *distances)
        return order[: max(1, int((keys > 0).sum()))]

    def choose(self, name, x):
        """For each token experts, best first, and their weights."""
        router = self.c["router"]
        if router["type"] == "dynmoe":
            z, scale = self.cosines(name, x)
            for keys, row in zip(sigmoid(z) - sigmoid(scale * self.w[name + ".gates"]), sigmoid(z)):
                ids = self.chosen_by_threshold(keys) if (keys > 0).any() else self.chosen(row, 1)
                yield ids, numpy.full(len(ids), 1 / len(ids))
            return
        for row in self.scores(name, x):
            if router["type"] == "longcat":
                ids = self.chosen(row + self.w[name + ".e_score_correction_bias"], router["k"])
                yield ids, router["scale"] * row[ids]
                continue
            ids = self.chosen(row, router["k"])
            yield ids, row[ids] / (row[ids].sum() if router.get("normalize", True) else 1)

    def routed(self, layer, x):
        name, out = f"model.layers.{layer}.mlp", numpy.zeros_like(x)
        experts, weights = [], []
        for t, (ids, own) in enumerate(self.choose(name + ".gate", x)):
            for e, weight in zip(ids, own):
                is_network = e < self.c["num_experts"]  # the others return their input
                out[t] += weight * (self.network(f"{name}.experts.{e}", x[t]) if is_network else x[t])
            experts.append(ids.tolist())
            weights.append(own.tolist())
        self.routes[layer] = (experts, weights)
        return out

    def operations(self):
        """h_1, h_2, ...: what the layers add, of the residual."""
        for layer in range(self.c["num_hidden_layers"]):
            name = f"model.layers.{layer}."
            yield lambda x: self.attention(name + "self_attn", self.norm(name + "input_layernorm", x))
            if layer in self.c["mlp_only_layers"]:
                yield lambda x: self.network(name + "mlp", self.norm(name + "post_attention_layernorm", x))
            else:
                yield lambda x: self.routed(layer, self.norm(name + "post_attention_layernorm", x))

    def forward(self, tokens):
        self.routes = {}
        self.state = numpy.zeros((len(tokens), self.c["router"].get("state_size", 1)))
        x = [self.w["model.embed_tokens.weight"][tokens]]
        is_ladder = self.c.get("residual", {}).get("type") == "ladder"
        for operation in self.operations():
            reads = x[max(len(x) - 2, 0)] if is_ladder else x[-1]
            x.append(x[-1] + operation(reads))
        head = "model.embed_tokens" if self.c["tie_word_embeddings"] else "lm_head"
        return self.linear(head, self.norm("model.norm", x[-1]))


def rounded(row):
    return [float(f"{value:.7g}") for value in row]


def expected(config, entries, seed):
    reference = Reference(config, {entry["name"]: values(entry).double().numpy() for entry in entries})
    prompt = [int(z) for z in outputs(seed + 99991, PROMPT) % numpy.uint64(config["vocab_size"])]
    tokens, margin = list(prompt), float("inf")
    for _ in range(STEPS):
        logits = reference.forward(tokens)
        if len(tokens) == PROMPT:
            of_prompt, routes = logits, reference.routes
        best = numpy.argsort(-logits[-1], kind="stable")
        margin = min(margin, logits[-1][best[0]] - logits[-1][best[1]])
        tokens.append(int(best[0]))
    return {
        "prompt": prompt, "greedy": tokens[PROMPT:], "context_size": 0, "min_margin": margin,
        "nearest_route": float(min(reference.nearest, 1e9)), "logits": [rounded(row) for row in of_prompt],
        "logits_last": rounded(reference.forward(tokens)[-1]),
        "routes": [{"layer": layer, "experts": experts, "weights": [rounded(row) for row in weights]}
                   for layer, (experts, weights) in sorted(routes.items())],
        "weights_hash": hash_of_weights([("model.safetensors", entries)]),
    }  # fmt: skip


def main():
    root = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or CHECKPOINTS:
        config, folder = CHECKPOINTS[name], root / name
        for seed in range(1, 50):
            shapes = shapes_of(config)
            entries = [{"name": key, "dtype": "F32", "shape": shapes[key]} for key in sorted(shapes, key=natural)]
            entries = refilled(entries, config, seed)
            entries = [entry | FILLED.get(entry["name"].rsplit(".")[-1], {}) for entry in entries]
            found = expected(config, entries, seed)
            if found["min_margin"] >= 1e-3 and found["nearest_route"] >= 2e-5:
                break
            print(f"{name}: seed {seed} left out, margin {found['min_margin']:.1e}, "
                  f"nearest route {found['nearest_route']:.1e}")  # fmt: skip
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        (folder / "tensors.json").write_text(tensors_json([("model.safetensors", entries)]))
        (folder / "expected.json").write_text(json.dumps(found) + "\n")
        print(f"{name}: seed {seed}, {len(set(found['greedy']))} distinct tokens, margin {found['min_margin']:.1e}, "
              f"nearest route {found['nearest_route']:.1e}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
