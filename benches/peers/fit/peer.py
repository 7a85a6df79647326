"""PyTorch's side: initial values and steps."""

import math

import torch

from fit.forms import case_of, cases, forward, predicted, shapes
from fit.protocol import ADAM, BATCH_SIZE, EPOCHS, INIT_STD


def initial(name, shape):
    """First values of a tensor, by model.md §7 and docs/models.md."""
    layer, part = name.split(".")[-2:]
    if name.startswith("embeddings.") or name == "scenario.weight":
        std = INIT_STD
    elif name.endswith("core.bias"):
        return torch.eye(math.isqrt(shape[0])).flatten()
    elif name in ("norm.var", "transform.scale") or name.endswith(("norm.weight", "by_scenario.weight")):
        return torch.ones(shape)
    elif part in ("bias", "mean", "shift") or name.startswith("fusion."):
        return torch.zeros(shape)
    elif name == "attention.v":
        std = shape[1] ** -0.5
    elif layer == "core":
        rank, trunk = math.isqrt(shape[0]), shape[1]
        std = (2.0 / (trunk * rank)) ** 0.5
    elif layer == "full":
        # Square in the one kind that has it, so that `in` is the root of the rows.
        std = (2.0 / (shape[1] * math.isqrt(shape[0]))) ** 0.5
    elif layer == "shift":
        std = (0.2 / shape[1]) ** 0.5
    elif part in ("left", "right"):
        std = (2.0 / shape[0]) ** 0.5
    elif part == "weight":
        std = (2.0 / shape[-1]) ** 0.5
    else:
        raise SystemExit(f"{name}: nobody said how it begins")
    return std * torch.randn(shape)


def fit_torch(kind, seed, data):
    """Trains a kind; probabilities of the test rows."""
    torch.manual_seed(seed)
    c = case_of(kind, data)
    p = {name: initial(name, shape).requires_grad_() for name, shape in shapes(c).items()}
    rows = len(data.train["label"])
    # As few batches as the size allows, which differ by one row at most.
    order = (taken for _ in range(EPOCHS) for taken in torch.randperm(rows).tensor_split(-(-rows // BATCH_SIZE)))
    return torch.sigmoid(predicted(train(c, p, order, data))).numpy()


def train(c, p, order, data):
    """Steps on these batches of rows; then the pass over the test rows."""
    tables = {cases.tensor(f) for f in data.fields}
    lr, betas, eps = ADAM["lr"], (ADAM["beta1"], ADAM["beta2"]), ADAM["eps"]
    steppers = [
        torch.optim.Adam([v for n, v in p.items() if n not in tables], lr=lr, betas=betas, eps=eps, fused=True),
        torch.optim.SparseAdam([v for n, v in p.items() if n in tables], lr=lr, betas=betas, eps=eps),
    ]
    for taken in order:
        for stepper in steppers:
            stepper.zero_grad()
        run = forward(c, p, data.batch(data.train, taken))
        run.loss.backward()
        for stepper in steppers:
            stepper.step()
        for name, value in run.running.items():
            p[name].data.copy_(value)
    with torch.no_grad():
        return forward(c, p, data.batch(data.test, torch.arange(len(data.test["label"]))))
