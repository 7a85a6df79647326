"""The models that OptMSM is compared with, in PyTorch, as fast as a CPU runs them: part of optmsm_torch.py.

They are the transcriptions of tests/fixtures/models/, with other forms of what is slow there, which gathers the weights of
every row's scenario ([B, out, in]):

  - compiled, a linear layer of the scenario is one product with all scenarios' weights side by side, from which a one-hot
    mask picks: static shapes, and three times the arithmetic of a narrow layer;
  - eager, rows are sorted by scenario, and each scenario's are multiplied by its own weights;
  - what is generated from a scenario (m2m, apg) is generated once for each scenario, not for every row;
  - STAR's statistics are products with the one-hot mask.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/fixtures"))
from models import KINDS, apg, m2m, parts, star  # noqa: E402
from models.parts import copy_of, hidden, layers, mixture, mlp  # noqa: E402


class Pass:
    """What a pass of the fixtures keeps for their checks, without keeping it."""

    def __init__(self):
        self.penalty = 0.0
        self.running = {}
        self.deviations = self

    relu = staticmethod(F.relu)
    leaky_relu = staticmethod(F.leaky_relu)
    above = staticmethod(torch.gt)

    def append(self, deviation):
        pass


def one_hot(scenario, scenarios, like):
    return F.one_hot(scenario, scenarios).to(like.dtype)


def all_heads(scenario):
    """A linear layer of the row's scenario: every scenario's, then a mask."""

    def linear(h, weight, bias=None):
        s, out = weight.shape[:2]
        mask = one_hot(scenario, s, h)
        y = (F.linear(h, weight.flatten(0, 1)).view(-1, s, out) * mask[:, :, None]).sum(dim=1)
        return y if bias is None else y + mask @ bias

    return linear


def sorted_rows(scenario):
    """The same, by each scenario's rows."""
    order = torch.argsort(scenario)
    back = torch.argsort(order)

    def linear(h, weight, bias=None):
        counts = torch.bincount(scenario, minlength=len(weight)).tolist()
        rows = h[order].split(counts)
        found = [F.linear(x, weight[i], None if bias is None else bias[i]) for i, x in enumerate(rows)]
        return torch.cat(found)[back]

    return linear


def of_scenario(scenario):
    return all_heads(scenario) if torch.compiler.is_compiling() else sorted_rows(scenario)


def gate_of_scenario(p, x, scenario):
    return of_scenario(scenario)(x, p["gate.weight"], p["gate.bias"])


def logit_of_m2m(c, p, x, e, run):
    found = layers(p, "experts")
    experts = [hidden(run, F.linear, e, copy_of(found, k)) for k in range(len(found[0][0]))]
    u = F.relu(F.linear(p["scenario.weight"], p["hyper.trunk.weight"], p["hyper.trunk.bias"]))
    linear, m = of_scenario(x["scenario"]), experts[0].shape[1]

    def layer(name, h):
        weight = F.linear(u, p[f"{name}.full.weight"], p[f"{name}.full.bias"]).view(-1, m, m)
        return linear(h, weight, F.linear(u, p[f"{name}.shift.weight"], p[f"{name}.shift.bias"]))

    a = [F.linear(F.leaky_relu(layer("attention", expert), m2m.SLOPE), p["attention.v"]) for expert in experts]
    r = mixture(torch.cat(a, dim=1), experts)
    for l in range(c["model"]["m2m"]["layers"]):
        r = F.leaky_relu(layer(f"meta.{l}", r) + r, m2m.SLOPE)
    return F.linear(r, p["logit.weight"], p["logit.bias"])[:, 0]


def logit_of_apg(c, p, x, e, run):
    own, h = c["model"]["apg"], e
    assert own["condition"] == "scenario" and not own["overparameterize"]
    u = F.relu(F.linear(p["scenario.weight"], p["hyper.trunk.weight"], p["hyper.trunk.bias"]))
    linear, mask = of_scenario(x["scenario"]), one_hot(x["scenario"], c["scenarios"], e)
    for l, (_, _, r) in enumerate(apg.layers(c, e.shape[1])):
        at = f"tower.{l}"
        core = F.linear(u, p[f"{at}.core.weight"], p[f"{at}.core.bias"]).view(-1, r, r)
        y = linear(h @ p[f"{at}.left"], core.transpose(1, 2)) @ p[f"{at}.right"]
        y = y + mask @ F.linear(u, p[f"{at}.shift.weight"], p[f"{at}.shift.bias"])
        h = F.relu(y) if l < len(own["hidden"]) else y
    return h[:, 0]


def logit_of_star(c, p, x, e, run):
    mask = one_hot(x["scenario"], c["scenarios"], e)
    count = mask.sum(dim=0)[:, None].clamp(min=1.0)
    mean = mask.T @ e / count
    centred = e - mask @ mean
    variance = mask.T @ centred.square() / count
    scale = p["norm.weight"] * p["norm.by_scenario.weight"] / (variance + star.EPS).sqrt()
    h = centred * (mask @ scale) + p["norm.bias"] + mask @ p["norm.by_scenario.bias"]
    with torch.no_grad():
        for name, value in (("norm.mean", mean), ("norm.var", variance)):
            run.running[name] = star.MOMENTUM * p[name] + (1.0 - star.MOMENTUM) * value
    found = []
    for l, (weight, bias) in enumerate(layers(p, "star")):
        at = f"star.{l}.by_scenario"
        found.append((weight * p[f"{at}.weight"], bias + p[f"{at}.bias"]))
    z = mask @ p["scenario.weight"]
    aux = mlp(run, torch.cat([e, z], dim=1), layers(p, "aux"))
    return (mlp(run, h, found, of_scenario(x["scenario"])) + aux)[:, 0]


for module in [parts, *KINDS.values()]:
    for fast in (of_scenario, gate_of_scenario):
        if hasattr(module, fast.__name__):
            setattr(module, fast.__name__, fast)
LOGIT = {kind: module.logit for kind, module in KINDS.items()}
LOGIT |= {"m2m": logit_of_m2m, "apg": logit_of_apg, "star": logit_of_star}


class Model:
    """A kind with its settings: the `[model]` of a configuration with every default, λ of its penalty, the fields."""

    def __init__(self, settings, weight, scenarios, fields):
        self.kind = settings["kind"]
        experts = settings[self.kind].get("experts", {})
        if experts.get("count") == 0:
            experts["count"] = scenarios
        self.case = {"kind": self.kind, "model": settings, "lambda": weight, "scenarios": scenarios, "fields": fields}

    def shapes(self):
        """Of every parameter except the tables."""
        width = len(self.case["fields"]) * self.case["model"]["embedding_dim"]
        return {name: shape for name, (shape, _) in KINDS[self.kind].parameters(self.case, width).items()}

    def loss(self, p, rows, scenario, label):
        """Loss and logits [B], from the looked-up rows [B, F, d]."""
        run = Pass()
        logits = LOGIT[self.kind](self.case, p, {"scenario": scenario, "label": label}, rows.flatten(1), run)
        return F.binary_cross_entropy_with_logits(logits, label) + self.case["lambda"] * run.penalty, logits
