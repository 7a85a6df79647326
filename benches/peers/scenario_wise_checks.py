"""Says by running them how the models of Scenario-Wise-Rec behave where a prediction, a gradient or a choice could depend on what it should not.

    python scenario_wise_checks.py --library Scenario-Wise-Rec --config examples/ml-100k.toml --data FOLDER

Each model is built as scenario_wise_fit.py builds it, and trained for `STEPS` steps; then come the checks, which print tables of Markdown. Takes what
scenario_wise_fit.py takes.
"""

import sys
import tempfile

import protocol
import torch
from scenario_wise_fit import DIM, SCENARIO, arguments, build, features, prepare, take

STEPS, BATCH = 10, 512
ROWS = 32  # whose predictions are compared
CALLS = 300  # of the model in between
# Where each model keeps what belongs to the second scenario alone.
OWN = {
    "sharedbottom": ("towers.1.",),
    "mmoe": ("towers.1.", "gates.1."),
    "ple": ("towers.1.", "cgc_layers.0.gates_specific.1."),
    "star": ("domain_specific_bn.1.",),
    "sarnet": ("domain_specific_expert.1.",),
    "ppnet": ("domain_tower.1.",),
    "hamur": ("layer_list.1.",),
}


def spread(x, rows):
    """`rows` rows, evenly out of all."""
    return take(x, torch.linspace(0, len(x[SCENARIO]) - 1, rows).long())


def train(model, x, y, steps):
    """A few steps of Adam; returns the names of parameters that never had a gradient."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    still = {n for n, _ in model.named_parameters()}
    model.train()
    for rows in torch.randperm(len(y))[: steps * BATCH].split(BATCH):
        loss = torch.nn.functional.binary_cross_entropy(model(take(x, rows)), y[rows])
        optimizer.zero_grad()
        loss.backward()
        still -= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
    return sorted(still)


def difference(a, b):
    """The largest difference of two predictions in words; NaN is one."""
    if torch.isnan(a).any() or torch.isnan(b).any():
        return "NaN"
    largest = (a - b).abs().max().item()
    return "none" if largest < 1e-6 else f"{largest:.1e}"


def own_statistics(name, model, x):
    """How many running means of the second scenario's own normalizations change by a batch without a row of it."""
    if name not in OWN:
        return "–"
    rows = torch.nonzero(x[SCENARIO] == 0).reshape(-1)[:BATCH]
    means = {n: b.clone() for n, b in model.named_buffers() if n.startswith(OWN[name]) and n.endswith("running_mean")}
    if not means:
        return "–"
    model.train()
    model(take(x, rows))
    now = dict(model.named_buffers())
    return f"{sum(not torch.equal(now[n], b) for n, b in means.items())} of {len(means)}"


def rows_of(name, args, data, parts):
    """The line of one model."""
    torch.manual_seed(1)
    model = build(name, data, args.ids)
    x, y = parts["train"]
    still = train(model, x, y, STEPS)
    model.eval()
    few = spread(parts["test"][0], ROWS)
    many = {k: torch.cat([few[k], v[:BATCH]]) for k, v in parts["test"][0].items()}
    with torch.no_grad():
        together = model(few).reshape(-1)
        beside = model(many).reshape(-1)[:ROWS]
        alone = torch.cat([model(take(few, slice(i, i + 1))).reshape(-1) for i in range(ROWS)])
        together_now = model(few).reshape(-1)
        for _ in range(CALLS):
            model(take(few, slice(0, 2)))
        later = model(few).reshape(-1)
    still = ", ".join(dict.fromkeys(n if "embed" not in n else n.removesuffix(".weight") for n in still)) or "none"
    return [difference(together_now, later), difference(together, alone), difference(together, beside), own_statistics(name, model, x), still]


def single_facts(data, parts):
    """Facts of one class each."""
    from scenario_wise_rec.basic.features import SparseFeature
    from scenario_wise_rec.basic.layers import Pruner
    from scenario_wise_rec.models import multi_domain as library
    from scenario_wise_rec.trainers import CTRTrainer

    fields, scenario = features(data)
    count = len(data.scenarios)
    x = spread(parts["train"][0], BATCH)

    layers = [str(m) for m in library.EPNet(scenario, fields, fcn_dims=[128, 64, 32]).mlp.mlp]
    yield "EPNet(fcn_dims=[128, 64, 32]).mlp", ", ".join(layers)

    fields, scenario = features(data)
    star = library.Star(fields, count, fcn_dims=[128, 64, 32], aux_dims=[32])
    train(star, *parts["train"], STEPS)
    star.eval()
    with torch.no_grad():
        main = torch.logit(star(x).double()) - star.auxnet(star.embedding(x, star.features, squeeze_dim=True)).reshape(-1)
    yield "Star: logits without the auxiliary network", f"{main.min():.3f} to {main.max():.3f}, {(main.abs() < 1e-4).double().mean():.0%} are 0"

    signs = Pruner(DIM, DIM, form="Binarization", epsilon=0.5)(torch.randn(BATCH, DIM), torch.randn(BATCH, DIM))
    yield "Pruner(form='Binarization'): values", ", ".join(f"{v:g}" for v in signs.unique().tolist())
    fusion = Pruner(DIM, DIM, form="Fusion", epsilon=0.5)(torch.randn(BATCH, DIM), torch.randn(BATCH, DIM))
    yield "Pruner(form='Fusion', epsilon=0.5): values", f"{fusion.min():.2f} to {fusion.max():.2f}, {(fusion == 0).double().mean():.0%} are 0"

    sparse = build("adasparse", data)
    yield "AdaSparse: `alpha` in state_dict", str("alpha" in sparse.state_dict())

    dims = [64]
    sizes = [library.HamurSmall(features(data)[0], count, [256, 128], dims, 35).hyper_net[-4].weight.shape for _ in range(2)]
    yield "HamurSmall twice with one list [64] of hyper_dims: the last layer of hyper_net", " and ".join(str(tuple(s)) for s in sizes) + f", the list is {dims}"

    fields, _ = features(data)
    one, two = (library.SharedBottom(fields, count, {"dims": [8]}, {"dims": [8]}) for _ in range(2))
    yield "two models of the same features: one table", str(one.embedding.embed_dict["user_id"] is two.embedding.embed_dict["user_id"]) if "user_id" in one.embedding.embed_dict else "–"

    try:
        SparseFeature("f", 100).get_embedding_layer()
        yield "SparseFeature without embed_dim", "makes a table"
    except Exception as error:
        yield "SparseFeature without embed_dim", f"{type(error).__name__}: {str(error).splitlines()[0]}"

    class Falling(CTRTrainer):
        """Sees a validation AUC that falls from epoch to epoch."""

        auc = 0.9

        def evaluate(self, model, data_loader, mode="val"):
            self.auc -= 0.1
            return self.auc, 0.5

    with tempfile.TemporaryDirectory() as folder:
        fields, _ = features(data)
        model = library.SharedBottom(fields, count, {"dims": [8]}, {"dims": [8]})
        y = torch.ones(BATCH)
        trainer = Falling(model, "none", n_epoch=3, earlystop_patience=4, model_path=folder)
        trainer.fit([(x, y)], [(x, y)])
        best = trainer.early_stopper.best_weights
        same = all(torch.equal(best[n], t) for n, t in model.state_dict().items())
    yield "CTRTrainer.fit: 3 epochs of falling AUC, patience 4: weights are the best epoch's", str(same)


def main():
    args = arguments(__doc__).parse_args()
    data, parts = prepare(args)
    heads = [f"after {CALLS} other predictions", "a row alone", "beside other rows", "own statistics moved by other scenarios", "parameters without gradient"]
    print(protocol.line("model", heads))
    print("|---" * (len(heads) + 1) + "|")
    found = {}
    for name in args.models:
        cells = rows_of(name, args, data, parts)
        found[name] = dict(zip(heads, cells))
        print(protocol.line(name, cells), flush=True)
    out, sys.stdout = sys.stdout, sys.stderr  # the trainer prints
    facts = dict(single_facts(data, parts))
    sys.stdout = out
    print("\n| run | found |\n|---|---|")
    for what, value in facts.items():
        print(protocol.line(what, [value]))
    protocol.save(args.json, {"models": found, "facts": facts})


if __name__ == "__main__":
    main()
