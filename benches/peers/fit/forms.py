"""The transcriptions of tests/fixtures, with faster forms of what they gather row by row."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests/fixtures"))

import cases
import model as optmsm
import models
import models.parts
import models.star
from models import KINDS
from models.parts import layers, mlp, width_of

from fit import say
from fit.protocol import DIM, SETTINGS


def case_of(kind, data):
    """The kind's case, in the words of the transcriptions."""
    own = SETTINGS[kind]
    c = {"kind": kind, "fields": data.fields, "scenarios": len(data.scenarios), "embedding_dim": DIM}
    if kind == "optmsm":
        hyper = own["hyper"]
        parts = {part: own[part] for part in ["experts", "specific", "tower"]}
        return {**c, **parts, **hyper, "combine": "gate", "condition": "scenario", "lambda": own["orthogonality"]}
    return {**c, "model": {"kind": kind, "embedding_dim": DIM, kind: own}, "lambda": own.get("sparsity", 0.0)}


def shapes(c):
    """Shape of every tensor by checkpoint name."""
    if c["kind"] == "optmsm":
        return {name: shape for name, (shape, _) in cases.shapes(c).items()}
    tables = {cases.tensor(f): (f["vocab"], DIM) for f in c["fields"]}
    own = KINDS[c["kind"]].parameters(c, width_of(c))
    return {**tables, **{name: shape for name, (shape, _) in own.items()}}


def forward(c, p, x):
    """One pass in training, as the transcriptions have it."""
    return optmsm.forward(c, p, x) if c["kind"] == "optmsm" else models.forward(c, p, x)


def predicted(run):
    """The logits that predict, which are not those of training where there are running statistics."""
    return run.predicted if run.running else run.logit


def of_scenario(scenario):
    """As that of models/parts.py: all scenarios' layers on all rows, of which each row keeps its own."""

    def linear(h, weight, bias=None):
        y = F.linear(h, weight.flatten(0, 1), None if bias is None else bias.flatten())
        return y.unflatten(1, weight.shape[:2])[torch.arange(len(h)), scenario]

    return linear


def gate_of_scenario(p, x, scenario):
    """As that of models/parts.py, by the layer above."""
    return of_scenario(scenario)(x, p["gate.weight"], p["gate.bias"])


def star(p, e, scenario, by, run):
    """As that of models/star.py, with a scenario's weights multiplied once instead of once for each row."""
    x = (e - by["norm.mean"][scenario]) / (by["norm.var"][scenario] + models.star.EPS).sqrt()
    x = x * (p["norm.weight"] * p["norm.by_scenario.weight"])[scenario]
    x = x + (p["norm.bias"] + p["norm.by_scenario.bias"])[scenario]
    found = []
    for l, (weight, bias) in enumerate(layers(p, "star")):
        found.append((weight * p[f"star.{l}.by_scenario.weight"], bias + p[f"star.{l}.by_scenario.bias"]))
    return mlp(run, x, found, of_scenario(scenario))[:, 0]


def use_fast_forms():
    """Puts these forms in the place of the transcriptions', in every module that has them."""
    for module in [models.parts, *KINDS.values()]:
        for form in [of_scenario, gate_of_scenario, star]:
            if hasattr(module, form.__name__):
                setattr(module, form.__name__, form)


def check(data):
    """Compares fast forms with the transcriptions, in f64, by random parameters on rows of the data; they stay in use."""
    torch.set_default_dtype(torch.float64)
    rng = np.random.Generator(np.random.PCG64(7))
    x = data.batch(data.train, torch.from_numpy(rng.choice(len(data.train["label"]), 96, replace=False)))

    def passes():
        for kind, (c, params) in drawn.items():
            p = {name: value.clone().requires_grad_() for name, value in params.items()}
            run = forward(c, p, x)
            run.loss.backward()
            found = {"logit": run.logit, "penalty": run.penalty, "predicted": predicted(run)}
            found.update({f"gradient of {name}": v.grad.to_dense() for name, v in p.items() if v.grad is not None})
            yield kind, {name: value.detach() for name, value in found.items()}

    drawn = {}
    for kind in SETTINGS:
        c = case_of(kind, data)
        drawn[kind] = c, (cases if kind == "optmsm" else models).make_params(c, rng)
    literal = dict(passes())
    use_fast_forms()
    for kind, found in passes():
        off = {name: float((value - literal[kind][name]).abs().max()) for name, value in found.items()}
        worst = max(off, key=off.get)
        say(f"check {kind}: {len(off)} tensors, farthest off is the {worst} by {off[worst]:.1e}")
        if found.keys() != literal[kind].keys() or not all(value < 1e-10 for value in off.values()):
            raise SystemExit(f"{kind}: the fast form is not the transcription, off by {off}")
    torch.set_default_dtype(torch.float32)
