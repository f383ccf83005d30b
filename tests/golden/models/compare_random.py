"""The headgate program against references on random checkpoints of odd shapes, as many as one likes.

usage: compare_random.py PROGRAM [--family NAME] [--first SEED] [--count N]

headgate_moe, which nobody else has, is computed by the equations of its definition, written below; every other family
by transformers 5.24 in float64 from the stored weights (../families/reference.py says where it is not followed). Each
checkpoint is written to a temporary folder without a tokenizer and continued greedily in a context of just that length,
which may lie beyond the model's; tokens and routes must be equal, log-probabilities within 2e-4, weights within 3e-5 of
the larger of them and 1, whatever the threads and rows per pass. Where two choices are nearer than float32 can tell,
the checkpoint is drawn again. Exits with 1 where something differs.
"""

import argparse
import functools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file

torch.set_grad_enabled(False)
STEPS = 12


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def rotate(x, theta):
    """x (tokens, heads, head_dim); pairs are half a head apart."""
    size = x.shape[-1]
    frequency = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = (torch.arange(len(x)).double()[:, None] * frequency).repeat(1, 2)[:, None]
    swapped = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1)
    return x * angle.cos() + swapped * angle.sin()


def best(keys, k):
    """The k largest, best first, ties to the lower index; and the smallest distance that decided."""
    order = sorted(range(len(keys)), key=lambda i: (-keys[i], i))
    distances = [keys[a] - keys[b] for a, b in zip(order[:k], order[1 : k + 1])]
    return order[:k], min(distances, default=float("inf"))


class HeadgateMoe:
    """model_type headgate_moe: a router and an attention named in config.json."""

    def __init__(self, rng, folder):
        heads = rng.randint(1, 3)
        self.config = config = dict(
            model_type="headgate_moe", hidden_size=rng.choice([7, 16, 24, 33, 40, 50]), head_dim=2 * rng.randint(1, 15),
            num_key_value_heads=heads, num_attention_heads=heads * rng.randint(1, 3), num_experts=rng.randint(1, 9),
            moe_intermediate_size=rng.randint(1, 37), num_hidden_layers=rng.randint(1, 4),
            vocab_size=rng.randint(20, 200), max_position_embeddings=128, rms_norm_eps=1e-6,
            rope_theta=rng.choice([500.0, 1e4, 1e6]), tie_word_embeddings=rng.random() < 0.5, hidden_act="silu",
        )  # fmt: skip
        router = dict(type=rng.choice(["top_k_softmax", "null_expert", "gru", "bias_balanced"]))
        rows, width = config["num_experts"], config["hidden_size"]
        if router["type"] == "null_expert":
            router["null_experts"] = rng.randint(1, 7)
            rows += router["null_experts"]
        if router["type"] == "gru":
            router["state_size"] = width = rng.randint(1, 19)
        if router["type"] == "bias_balanced":
            router["score"] = "sigmoid"
        router |= dict(k=rng.randint(1, rows), normalize=rng.random() < 0.7)
        dense = rng.random() < 0.4
        config["router"] = router
        config["attention"] = (
            dict(type="dense")
            if dense
            else dict(type="bilevel", region_size=rng.randint(1, 9), regions=rng.randint(1, 4))
        )
        stored = self.random_weights(rng, rows, width)
        save_file(stored, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config))
        self.weights = {name: tensor.double() for name, tensor in stored.items()}

    def random_weights(self, rng, rows, width):
        c, weights = self.config, {}
        generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
        dtype = rng.choice([torch.float32, torch.bfloat16])

        def put(name, *shape, scale=None, around=0.0):
            values = torch.randn(*shape, generator=generator) * (scale or 1.5 / shape[-1] ** 0.5) + around
            weights[name] = values.to(dtype)

        hidden, size, inner = c["hidden_size"], c["head_dim"], c["moe_intermediate_size"]
        queries, keys = c["num_attention_heads"] * size, c["num_key_value_heads"] * size
        put("model.embed_tokens.weight", c["vocab_size"], hidden, scale=1.0)
        put("model.norm.weight", hidden, scale=0.2, around=1.0)
        if not c["tie_word_embeddings"]:
            put("lm_head.weight", c["vocab_size"], hidden)
        for layer in range(c["num_hidden_layers"]):
            name = f"model.layers.{layer}."
            for norm, length in [("input_layernorm", hidden), ("post_attention_layernorm", hidden),
                                 ("self_attn.q_norm", size), ("self_attn.k_norm", size)]:  # fmt: skip
                put(f"{name}{norm}.weight", length, scale=0.2, around=1.0)
            put(name + "self_attn.q_proj.weight", queries, hidden)
            put(name + "self_attn.k_proj.weight", keys, hidden)
            put(name + "self_attn.v_proj.weight", keys, hidden)
            put(name + "self_attn.o_proj.weight", hidden, queries)
            put(name + "mlp.gate.weight", rows, width, scale=3 / width**0.5)
            if c["router"]["type"] == "gru":
                put(name + "mlp.gate.proj.weight", width, hidden)
            if c["router"]["type"] == "bias_balanced":
                put(name + "mlp.gate.e_score_correction_bias", rows, scale=0.3)
            for e in range(c["num_experts"]):
                put(f"{name}mlp.experts.{e}.gate_proj.weight", inner, hidden)
                put(f"{name}mlp.experts.{e}.up_proj.weight", inner, hidden)
                put(f"{name}mlp.experts.{e}.down_proj.weight", hidden, inner)
        if c["router"]["type"] == "gru":
            for name, *shape in [("weight_ih", 3 * width, width), ("weight_hh", 3 * width, width),
                                 ("bias_ih", 3 * width), ("bias_hh", 3 * width)]:  # fmt: skip
                put("model.router_gru." + name, *shape, scale=0.5)
        return weights

    def attend(self, name, x):
        c, w = self.config, self.weights
        shape = (len(x), -1, c["head_dim"])
        q = (x @ w[name + "q_proj.weight"].T).view(shape)
        k = (x @ w[name + "k_proj.weight"].T).view(shape)
        v = (x @ w[name + "v_proj.weight"].T).view(shape)
        q = rotate(rms_norm(q, w[name + "q_norm.weight"], c["rms_norm_eps"]), c["rope_theta"])
        k = rotate(rms_norm(k, w[name + "k_norm.weight"], c["rms_norm_eps"]), c["rope_theta"])
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        seen = torch.ones(len(x), len(x), dtype=torch.bool).tril()
        if c["attention"]["type"] == "bilevel":
            size, regions = c["attention"]["region_size"], c["attention"]["regions"]
            for t in range(len(x)):
                own = t // size
                seen[t, : own * size] = False
                affinity = [float((q[t] * k[j * size : (j + 1) * size].mean(0)).sum()) for j in range(own)]
                chosen, distance = best(affinity, regions)
                self.distance = min(self.distance, distance)
                for j in chosen:
                    seen[t, j * size : (j + 1) * size] = True
        scores = torch.einsum("qhd,khd->hqk", q, k) * c["head_dim"] ** -0.5
        mixed = torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -float("inf")).softmax(-1), v)
        return mixed.flatten(1) @ w[name + "o_proj.weight"].T

    def scores(self, name, x):
        """Scores that weigh and keys that select, (tokens, experts)."""
        w, kind = self.weights, self.config["router"]["type"]
        gate = w[name + "gate.weight"]
        if kind == "gru":
            g = {n: w["model.router_gru." + n] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            u = (x @ w[name + "gate.proj.weight"].T) @ g["weight_ih"].T + g["bias_ih"]
            r, z, n = zip(u.chunk(3, -1), (self.state @ g["weight_hh"].T + g["bias_hh"]).chunk(3, -1))
            update = torch.sigmoid(z[0] + z[1])
            new = torch.tanh(n[0] + torch.sigmoid(r[0] + r[1]) * n[1])
            self.state = (1 - update) * new + update * self.state
            x = self.state
        if kind == "bias_balanced":
            scores = torch.sigmoid(x @ gate.T)
            return scores, scores + w[name + "gate.e_score_correction_bias"]
        scores = (x @ gate.T).softmax(-1)
        return scores, scores

    def forward(self, tokens):
        """Logits, and per layer and token the experts and their weights."""
        c, w = self.config, self.weights
        self.distance, routes = float("inf"), []
        self.state = torch.zeros(len(tokens), c["router"].get("state_size", 1), dtype=torch.float64)
        x = w["model.embed_tokens.weight"][tokens]
        for layer in range(c["num_hidden_layers"]):
            name = f"model.layers.{layer}."
            x = x + self.attend(name + "self_attn.", rms_norm(x, w[name + "input_layernorm.weight"], c["rms_norm_eps"]))
            n = rms_norm(x, w[name + "post_attention_layernorm.weight"], c["rms_norm_eps"])
            scores, keys = self.scores(name + "mlp.", n)
            y = torch.zeros_like(x)
            for t in range(len(tokens)):
                chosen, distance = best(keys[t].tolist(), c["router"]["k"])
                self.distance = min(self.distance, distance)
                experts = [e for e in chosen if e < c["num_experts"]]
                weights = scores[t, experts]
                if c["router"]["normalize"] and experts:
                    weights = weights / weights.sum()
                routes.append((layer, t, experts, weights.tolist()))
                for e, weight in zip(experts, weights):
                    expert = f"{name}mlp.experts.{e}."
                    gated = torch.nn.functional.silu(w[expert + "gate_proj.weight"] @ n[t])
                    y[t] += weight * (w[expert + "down_proj.weight"] @ (gated * (w[expert + "up_proj.weight"] @ n[t])))
            x = x + y
        head = w["model.embed_tokens.weight"] if c["tie_word_embeddings"] else w["lm_head.weight"]
        return rms_norm(x, w["model.norm.weight"], c["rms_norm_eps"]) @ head.T, routes


def rope(rng, head_dim, kinds=("linear", "dynamic", "llama3", "yarn", "longrope")):
    """Rotary positions of any kind; original lengths are shorter and longer than the texts."""
    settings = dict(rope_type=rng.choice(("default", "default") + kinds), rope_theta=rng.choice([100.0, 1e4, 1e6]))
    kind, original = settings["rope_type"], rng.choice([16, 40, 100])
    if kind != "default":
        settings["factor"] = rng.choice([1.5, 4.0, 32.0])
    if kind in ("llama3", "yarn", "longrope"):
        settings["original_max_position_embeddings"] = original
    if kind == "llama3":
        settings |= dict(low_freq_factor=1.0, high_freq_factor=rng.choice([2.0, 4.0]))
    if kind in ("yarn", "longrope") and rng.random() < 0.3:
        settings["attention_factor"] = rng.choice([0.75, 1.25])
    if kind == "yarn" and rng.random() < 0.3:
        settings |= dict(beta_fast=rng.choice([16, 32]), beta_slow=rng.choice([1, 2]))
    if kind == "yarn" and rng.random() < 0.3:
        settings["truncate"] = rng.random() < 0.5
    if kind == "yarn" and rng.random() < 0.3:
        settings |= dict(mscale=rng.choice([0.707, 1.0]), mscale_all_dim=rng.choice([0.5, 1.0]))
    if kind == "longrope":
        for name in ("short_factor", "long_factor"):
            settings[name] = [rng.randint(8, 40) / 8 for _ in range(head_dim // 2)]
    return settings


def window(rng):
    return rng.choice([None, rng.randint(1, 20)])


def layer_kinds(rng, layers, *kinds):
    return [rng.choice(kinds) for _ in range(layers)]


def chance(rng, p=0.5):
    return rng.random() < p


def common(rng, own_head_dim=True):
    """What every family has. Without a key for head_dim it is hidden_size / num_attention_heads."""
    kv_heads = rng.randint(1, 3)
    heads, size = kv_heads * rng.randint(1, 3), 2 * rng.randint(2, 16)
    hidden = heads * rng.randint(3, 12) if own_head_dim else heads * size
    return dict(
        vocab_size=rng.randint(12, 150), hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv_heads,
        num_hidden_layers=rng.randint(1, 4), intermediate_size=rng.randint(1, 40), rope_parameters=rope(rng, size),
        max_position_embeddings=rng.choice([32, 64, 1000]), tie_word_embeddings=chance(rng), bos_token_id=None,
        eos_token_id=None, pad_token_id=None, rms_norm_eps=rng.choice([1e-6, 1e-5, 1e-2]),
    ) | (dict(head_dim=size) if own_head_dim else {})  # fmt: skip


def routed(rng, experts="num_experts", chosen="num_experts_per_tok"):
    count = rng.randint(1, 11)
    return {experts: count, chosen: rng.randint(1, count)}


def granite(rng):
    return common(rng, own_head_dim=False) | routed(rng, "num_local_experts") | dict(
        embedding_multiplier=rng.choice([1.0, 3.0]), attention_multiplier=rng.choice([0.0625, 0.25]),
        residual_multiplier=rng.choice([0.25, 1.0]), logits_scaling=rng.choice([0.5, 2.0]),
        attention_bias=chance(rng))  # fmt: skip


def latent(rng):
    """MLA, with groups of at least two experts."""
    config, size = common(rng, own_head_dim=False), 2 * rng.randint(1, 8)
    groups, members = rng.randint(1, 4), rng.randint(2, 4)
    kept = rng.randint(1, groups)
    kinds = ("yarn",) if chance(rng) else ("linear", "dynamic", "llama3", "longrope")
    return config | dict(
        num_key_value_heads=config["num_attention_heads"], q_lora_rank=rng.choice([None, rng.randint(1, 30)]),
        kv_lora_rank=rng.randint(1, 30), qk_nope_head_dim=rng.randint(1, 20), qk_rope_head_dim=size,
        v_head_dim=rng.randint(1, 20), moe_intermediate_size=rng.randint(1, 40), n_routed_experts=groups * members,
        n_group=groups, topk_group=kept, num_experts_per_tok=rng.randint(1, kept * members),
        n_shared_experts=rng.randint(1, 2), routed_scaling_factor=rng.choice([1.0, 2.5]), norm_topk_prob=chance(rng),
        attention_bias=chance(rng), rope_parameters=rope(rng, size, kinds))  # fmt: skip


def draw(family, rng):
    """The configuration of a random checkpoint of a family."""
    config, layers = common(rng), rng.randint(1, 4)
    size, hidden = config["head_dim"], rng.randint(1, 40)
    if family == "llama":
        return config | dict(attention_bias=chance(rng))
    if family == "mixtral":
        return config | routed(rng, "num_local_experts") | dict(sliding_window=window(rng))
    if family == "qwen3_moe":
        width = window(rng)
        return config | routed(rng) | dict(
            moe_intermediate_size=hidden, norm_topk_prob=chance(rng), decoder_sparse_step=rng.choice([1, 1, 2, 3]),
            mlp_only_layers=[l for l in range(config["num_hidden_layers"]) if chance(rng, 0.2)],
            attention_bias=chance(rng, 0.4), use_sliding_window=width is not None, sliding_window=width)  # fmt: skip
    if family == "mellum":
        count = config["num_hidden_layers"]
        kinds = ("linear", "llama3", "yarn")
        by_type = {kind: rope(rng, size, kinds) for kind in ("full_attention", "sliding_attention")}
        for settings in by_type.values():
            settings.pop("truncate", None)  # which transformers looks for outside of the layer's own settings
        return config | routed(rng) | dict(
            moe_intermediate_size=hidden, norm_topk_prob=chance(rng), attention_bias=chance(rng, 0.4),
            sliding_window=rng.randint(1, 20), mlp_layer_types=layer_kinds(rng, count, "sparse", "sparse", "dense"),
            layer_types=layer_kinds(rng, count, *by_type), rope_parameters=by_type)  # fmt: skip
    if family == "gpt_oss":
        count = config["num_hidden_layers"]
        return config | routed(rng, "num_local_experts") | dict(
            swiglu_limit=rng.choice([1.0, 7.0]), sliding_window=rng.randint(1, 20),
            layer_types=layer_kinds(rng, count, "full_attention", "sliding_attention"))  # fmt: skip
    if family == "phimoe":
        settings = rope(rng, size, ("longrope",))
        if settings["rope_type"] == "longrope":
            settings |= dict(short_mscale=rng.choice([1.0, 1.25]), long_mscale=rng.choice([1.0, 1.5]))
        return config | dict(
            num_local_experts=rng.randint(2, 11), num_experts_per_tok=2, attention_bias=chance(rng),
            lm_head_bias=chance(rng), router_jitter_noise=rng.choice([0.01, 0.25]), sliding_window=window(rng),
            tie_word_embeddings=False, rope_parameters=settings)  # fmt: skip

    config = common(rng, own_head_dim=False)
    layers = config["num_hidden_layers"]
    if family == "olmoe":
        return config | routed(rng) | dict(norm_topk_prob=chance(rng), attention_bias=chance(rng, 0.4),
                                           clip_qkv=rng.choice([None, 0.75]))  # fmt: skip
    if family == "qwen2_moe":
        slides = chance(rng)
        return config | routed(rng) | dict(
            moe_intermediate_size=hidden, shared_expert_intermediate_size=rng.randint(1, 40),
            norm_topk_prob=chance(rng), decoder_sparse_step=rng.choice([1, 1, 2]),
            mlp_only_layers=[l for l in range(layers) if chance(rng, 0.2)], qkv_bias=chance(rng, 0.7),
            use_sliding_window=slides, sliding_window=rng.randint(1, 20),
            max_window_layers=rng.randint(0, 4))  # fmt: skip
    if family == "ernie4_5_moe":
        return config | routed(rng, "moe_num_experts", "moe_k") | dict(
            moe_intermediate_size=hidden, moe_num_shared_experts=rng.randint(0, 2), use_bias=chance(rng, 0.3),
            moe_layer_start_index=rng.randint(0, 1), moe_layer_interval=rng.choice([1, 1, 2]),
            moe_norm_min=rng.choice([1e-12, 0.5]))  # fmt: skip
    if family == "lfm2_moe":
        config["norm_eps"] = config.pop("rms_norm_eps")
        return config | routed(rng) | dict(
            moe_intermediate_size=hidden, num_dense_layers=rng.randint(0, min(2, layers)), conv_L_cache=rng.randint(1, 5),
            conv_bias=chance(rng), use_expert_bias=chance(rng, 0.8), norm_topk_prob=chance(rng),
            routed_scaling_factor=rng.choice([1.0, 1.5]),
            layer_types=layer_kinds(rng, layers, "conv", "full_attention"))  # fmt: skip
    if family in ("granitemoe", "granitemoeshared", "granitemoe_swa"):
        config = granite(rng)
        layers = config["num_hidden_layers"]
        if family != "granitemoe":
            config["shared_intermediate_size"] = rng.choice([0, rng.randint(1, 40)])
        if family == "granitemoe_swa":
            config |= dict(sliding_window=rng.randint(1, 20),
                           layer_types=layer_kinds(rng, layers, "full_attention", "sliding_attention"))  # fmt: skip
            if chance(rng):
                config["layer_rope_theta"] = [rng.choice([0.0, 500.0, 1e4]) for _ in range(layers)]
        return config

    config = latent(rng)
    layers = config["num_hidden_layers"]
    if family == "glm4_moe_lite":
        return config | dict(mlp_layer_types=layer_kinds(rng, layers, "sparse", "sparse", "dense"))
    config["first_k_dense_replace"] = rng.randint(0, 1)
    if family == "deepseek_v2":
        config["topk_method"] = rng.choice(["greedy", "group_limited_greedy"])
    return config


FAMILIES = ["llama", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe", "granitemoe", "granitemoeshared", "granitemoe_swa",
            "lfm2_moe", "mellum", "ernie4_5_moe", "deepseek_v3", "deepseek_v2", "glm4_moe_lite", "phimoe",
            "gpt_oss"]  # fmt: skip


def without_neutral_keys(written, family):
    """config.json as terse writers leave it: nothing that is null or false where that is the default of the class."""
    from transformers import AutoConfig

    default = AutoConfig.for_model(family).to_dict()
    return {key: value for key, value in written.items()
            if not ((value is None or value is False) and default.get(key) in (None, False))}  # fmt: skip


class OfTransformers:
    """A family that transformers has: any dtype, shards, names per expert or stacked, configurations of 4 and 5."""

    def __init__(self, family, rng, folder):
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "families"))
        import reference as r

        config = draw(family, rng)
        kind = {"deepseek_v3": "fp8", "gpt_oss": "mxfp4"}.get(family) if chance(rng, 0.4) else None
        if kind == "mxfp4":
            config |= dict(hidden_size=32 * rng.randint(1, 3), intermediate_size=32 * rng.randint(1, 2))
        seed = rng.randrange(1 << 20)
        written, entries = r.entries_of(config, family, rng.choice(["F32", "BF16", "F16"]), seed, chance(rng))
        if kind:
            entries = r.quantized(kind, entries, written, seed)
        names = r.OLDER_GRANITE_NAMES if family == "granitemoe_swa" and chance(rng) else {}
        entries = [entry | {"name": r.renamed(entry["name"], names)} for entry in entries]
        if family not in ("mellum", "granitemoe_swa") and chance(rng):
            written = r.as_transformers_4(written)
        if chance(rng):
            written = without_neutral_keys(written, family)
        (folder / "config.json").write_text(json.dumps(written))
        r.write_weights(folder, r.sharded(entries, rng.choice([1, 1, 2, 3])))
        self.config = config
        self.reference = r.Reference(folder, torch.float64, {new: old for old, new in names.items()})

    @property
    def distance(self):
        return self.reference.nearest

    def forward(self, tokens):
        logits = self.reference.forward(tokens)
        routes = [(layer, t, *row) for layer, rows in self.reference.routes.items()
                  for t, row in enumerate(zip(*rows))]  # fmt: skip
        return logits, routes


def decides(model, prompt):
    """Whether no choice of a greedy continuation, of tokens or experts, is nearer to another than float32 can tell."""
    length, tokens, margin = len(prompt) + STEPS, list(prompt), float("inf")
    while len(tokens) < length:
        # What follows a position does not change it, but the length of a text may.
        logits, _ = model.forward(tokens + [0] * (length - len(tokens)))
        values, order = logits[len(tokens) - 1].topk(2)
        margin = min(margin, float(values[0] - values[1]))
        tokens.append(int(order[0]))
    return margin > 1e-4 and model.distance > 1e-5


def compare(program, family, seed):
    rng = random.Random(seed)
    while True:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            model = family(rng, folder)
            prompt = [rng.randrange(model.config["vocab_size"]) for _ in range(rng.choice([1, 2, 17, 40]))]
            if not decides(model, prompt):
                continue
            command = [program, "generate", "-m", folder, "--tokens", ",".join(map(str, prompt)), "-n", STEPS,
                       "--temp", 0, "--ignore-eos", "--logprobs", 5, "--json", "--trace", folder / "trace",
                       "-t", rng.randint(1, 3), "-ub", rng.choice([1, 3, 7, 512]),
                       "-c", len(prompt) + STEPS]  # fmt: skip
            run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
            if run.returncode != 0:
                print(f"seed {seed}: REFUSED: {run.stderr.strip()}")
                return False
            ours = json.loads(run.stdout)
            lines = [json.loads(line) for line in (folder / "trace").read_text().splitlines()]
            break
    trace = {(line["layer"], line["token"]): (line["experts"], line["weights"]) for line in lines}

    logits, routes = model.forward(prompt + ours["tokens"])
    logprobs = logits.double().log_softmax(-1)[len(prompt) - 1 :]
    tokens = sum(int(row.argmax()) != token for row, token in zip(logprobs, ours["tokens"]))
    error = max(abs(float(row[token]) - value) for row, step in zip(logprobs, ours["logprobs"])
                for token, value in step["top"])  # fmt: skip
    forwarded = [route for route in routes if route[1] < len(prompt) + STEPS - 1]  # the last token is never forwarded
    other = sum(trace[layer, t][0] != experts for layer, t, experts, _ in forwarded)
    weight = max((abs(a - b) / max(1, abs(b)) for layer, t, experts, weights in forwarded
                  if trace[layer, t][0] == experts
                  for a, b in zip(trace[layer, t][1], weights)), default=0.0)  # fmt: skip
    same = len(ours["tokens"]) == STEPS and tokens == 0 and other == 0 and error < 2e-4 and weight < 3e-5
    print(f"seed {seed}: {'the same' if same else 'DIFFERENT'}: {tokens} tokens and {other} of {len(forwarded)} routes "
          f"differ, log-probabilities by {error:.1e}, weights by {weight:.1e}", flush=True)
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--family", choices=["headgate_moe"] + FAMILIES, default="headgate_moe")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    family = HeadgateMoe
    if arguments.family != "headgate_moe":
        family = functools.partial(OfTransformers, arguments.family)
    seeds = range(arguments.first, arguments.first + arguments.count)
    different = sum(not compare(arguments.program, family, seed) for seed in seeds)
    print(f"{different} of {arguments.count} checkpoints differ")
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
