"""The headgate program against references on random checkpoints of odd shapes, as many as one likes.

usage: compare_random.py PROGRAM [--family qwen3_moe|headgate_moe] [--first SEED] [--count N]

qwen3_moe is computed by transformers 5 in float64 from the stored weights; headgate_moe, which nobody else has, by the
equations of its definition, written below. Each checkpoint is written to a temporary folder without a tokenizer and
continued greedily; tokens and routes must be equal, log-probabilities within 2e-4, weights within 1e-5, whatever the
threads and rows per pass. Where two choices are nearer than float32 can tell, a difference is no
fault: the smallest distance between choices is printed for that. Exits with 1 where something differs.
"""

import argparse
import json
import pathlib
import random
import subprocess
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


class Qwen3Moe:
    """transformers' own; it does not tell its routes."""

    distance = float("inf")

    def __init__(self, rng, folder):
        from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

        heads, layers, experts = rng.randint(1, 3), rng.randint(1, 4), rng.randint(1, 9)
        theta = rng.choice([100.0, 1e4, 1e6])
        config = Qwen3MoeConfig(
            hidden_size=rng.choice([8, 20, 33, 48, 51]), head_dim=2 * rng.randint(1, 20), num_key_value_heads=heads,
            num_attention_heads=heads * rng.randint(1, 3), num_experts=experts,
            num_experts_per_tok=rng.randint(1, experts), moe_intermediate_size=rng.randint(1, 40),
            intermediate_size=rng.randint(1, 70), num_hidden_layers=layers, vocab_size=rng.randint(12, 150),
            norm_topk_prob=rng.random() < 0.5, decoder_sparse_step=rng.choice([1, 1, 2, 3]),
            mlp_only_layers=[layer for layer in range(layers) if rng.random() < 0.2],
            attention_bias=rng.random() < 0.4, tie_word_embeddings=rng.random() < 0.5,
            max_position_embeddings=rng.choice([64, 1000]), rms_norm_eps=rng.choice([1e-6, 1e-5]),
            rope_parameters=dict(rope_type="default", rope_theta=theta),
            bos_token_id=None, eos_token_id=None, pad_token_id=None,
        )  # fmt: skip
        torch.manual_seed(rng.randrange(1 << 30))
        model = Qwen3MoeForCausalLM(config)
        for name, values in model.named_parameters():
            values.copy_(torch.randn_like(values) * (0.3 if values.dim() == 1 else 1.5 / values.shape[-1] ** 0.5))
            if values.dim() == 1 and "bias" not in name:
                values += 1
        model.tie_weights()
        model.to(rng.choice([torch.float32, torch.bfloat16, torch.float16]))
        model.save_pretrained(folder, max_shard_size=rng.choice(["20KB", "5GB"]))
        # grouped_mm, the default, wants widths that are multiples of 16 bytes.
        self.model = Qwen3MoeForCausalLM.from_pretrained(
            folder, dtype=torch.float64, experts_implementation="eager"
        ).eval()
        self.config = config.to_dict()
        if rng.random() < 0.5:  # as transformers 4 wrote it
            written = json.loads((folder / "config.json").read_text())
            del written["rope_parameters"]
            (folder / "config.json").write_text(json.dumps(written | dict(rope_theta=theta)))

    def forward(self, tokens):
        return self.model(torch.tensor([tokens])).logits[0], []


def compare(program, family, seed):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = family(rng, folder)
        prompt = [rng.randrange(model.config["vocab_size"]) for _ in range(rng.choice([1, 2, 17, 40]))]
        command = [program, "generate", "-m", folder, "--tokens", ",".join(map(str, prompt)), "-n", STEPS, "--temp", 0,
                   "--ignore-eos", "--logprobs", 5, "--json", "--trace", folder / "trace", "-t", rng.randint(1, 3),
                   "-ub", rng.choice([1, 3, 7, 512])]  # fmt: skip
        run = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if run.returncode != 0:
            print(f"seed {seed}: {run.stderr}")
            return False
        ours = json.loads(run.stdout)
        lines = [json.loads(line) for line in (folder / "trace").read_text().splitlines()]
    trace = {(line["layer"], line["token"]): (line["experts"], line["weights"]) for line in lines}

    logits, routes = model.forward(prompt + ours["tokens"])
    logprobs = logits.double().log_softmax(-1)[len(prompt) - 1 :]
    tokens = sum(int(row.argmax()) != token for row, token in zip(logprobs, ours["tokens"]))
    error = max(abs(float(row[token]) - value) for row, step in zip(logprobs, ours["logprobs"])
                for token, value in step["top"])  # fmt: skip
    forwarded = [route for route in routes if route[1] < len(prompt) + STEPS - 1]  # the last token is never forwarded
    other = sum(trace[layer, t][0] != experts for layer, t, experts, _ in forwarded)
    weight = max((abs(a - b) for layer, t, experts, weights in forwarded if trace[layer, t][0] == experts
                  for a, b in zip(trace[layer, t][1], weights)), default=0.0)  # fmt: skip
    same = len(ours["tokens"]) == STEPS and tokens == 0 and other == 0 and error < 2e-4 and weight < 1e-5
    print(f"seed {seed}: {'the same' if same else 'DIFFERENT'}: {tokens} tokens and {other} of {len(forwarded)} routes "
          f"differ, log-probabilities by {error:.1e}, weights by {weight:.1e}; nearest choice {model.distance:.1e}")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--family", choices=["qwen3_moe", "headgate_moe"], default="headgate_moe")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    family = dict(qwen3_moe=Qwen3Moe, headgate_moe=HeadgateMoe)[arguments.family]
    seeds = range(arguments.first, arguments.first + arguments.count)
    different = sum(not compare(arguments.program, family, seed) for seed in seeds)
    print(f"{different} of {arguments.count} checkpoints differ")
    raise SystemExit(1 if different else 0)


main()
