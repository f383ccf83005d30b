"""What the scripts that run official modules share: numbers short to write down, modules that are not there, output."""
import importlib
import json
import sys
import types
from unittest import mock

import torch


def dyadic(*shape, scale=1.0, generator):
    """Random multiples of 1/64: exact in float, and short."""
    return (torch.randn(*shape, generator=generator) * scale * 64).round() / 64


def fill(module, scale, generator):
    """Every parameter of the module, in place."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(dyadic(*parameter.shape, scale=scale, generator=generator))


def lend(module, **names):
    """What a module no longer has and is imported for, never called here."""
    module = importlib.import_module(module)
    for name, value in names.items():
        if not hasattr(module, name):
            setattr(module, name, value)


def absent(*names):
    """Stands in for modules that are imported and never called here."""
    for name in names:
        sys.modules[name] = mock.MagicMock()


def load(folder, name, package=None):
    """The module `name` of a folder, as a part of a package where it imports its neighbours."""
    sys.path.insert(0, folder)
    if package is None:
        return importlib.import_module(name)
    parent = types.ModuleType(package)
    parent.__path__ = [folder]
    sys.modules[package] = parent
    return importlib.import_module(f"{package}.{name}")


def margin(keys, k):
    """Least distance of a key from the next smaller one, among those whose order decides."""
    ordered = keys.double().sort(dim=-1, descending=True).values
    gaps = ordered[..., :-1] - ordered[..., 1:]
    return gaps[..., :k].min().item() if gaps.numel() else 1.0


def flat(tensor):
    digits = 17 if tensor.dtype == torch.float64 else 9
    return [float(f"{v:.{digits}g}") for v in tensor.detach().flatten().tolist()]


def margins(cases):
    for value in cases.values() if isinstance(cases, dict) else cases if isinstance(cases, list) else []:
        yield from margins(value)
    if isinstance(cases, dict) and "margin" in cases:
        yield cases["margin"]


def decided(make, seed):
    """make(generator) of the first seed for which keys that decide about ids are at least 1e-4 apart."""
    while True:
        case = make(torch.Generator().manual_seed(seed))
        if min(margins(case)) >= 1e-4:
            return case
        seed += 1


def write(cases):
    json.dump(cases, sys.stdout, separators=(",", ":"))
    print()
