"""Fits the models of Scenario-Wise-Rec on the rows, fields and split of a configuration of `optmsm`, and judges the test rows once per seed.

    git clone https://github.com/Xiaopengli1/Scenario-Wise-Rec
    python scenario_wise_fit.py --library Scenario-Wise-Rec --config examples/ml-100k.toml --data FOLDER --seeds 1 2 3 4 5 --json library.json

The library is not on PyPI; installed from its folder (`pip install ./Scenario-Wise-Rec`) it needs no `--library`. Models are built as its own
script for MovieLens builds them, with its widths and the features that it gives to each. The loop is ours, for the rows lie in memory: its loss (binary
cross-entropy), its optimizer (Adam, weight decay on every parameter), its early stopping (validation AUC, patience 4), and the best epoch is kept, always.
Every pair of `--lr` and `--weight-decay` is tried with the seed `--search-seed`; the validation AUC chooses, then each seed is fitted. One thread.
Needs `torch`, and `pandas` and `tqdm` for the library, beside what protocol.py needs.
"""

import copy
import itertools
import platform
import sys
import time

import numpy as np
import protocol
import torch
from sklearn.metrics import roc_auc_score

DIM = 16  # of all embeddings, as in its script and in ours
SCENARIO = "domain_indicator"
PATIENCE = 4


def features(data):
    """The library's features of the fields and of the scenario. Made anew for each model, because a feature keeps the table that it made."""
    from scenario_wise_rec.basic.features import DenseFeature, SequenceFeature, SparseFeature

    made = []
    for field in data.fields:
        if field.kind == "numeric":
            made.append(DenseFeature(field.name))
        elif field.kind == "multi":
            made.append(SequenceFeature(field.name, field.size() + 1, DIM, padding_idx=field.size()))
        else:
            made.append(SparseFeature(field.name, field.size(), DIM))
    return made, [SparseFeature(SCENARIO, len(data.scenarios), DIM)]


def build(name, data, ids=("user_id", "item_id")):
    """The model `name`, as the library's `scripts/run_movielens_rank_multi_domain.py` builds it; `ids` are PPNet's."""
    from scenario_wise_rec.models import multi_domain as library

    fields, scenario = features(data)
    count = len(data.scenarios)
    match name:
        case "sharedbottom":
            return library.SharedBottom(fields, count, bottom_params={"dims": [128]}, tower_params={"dims": [8]})
        case "mmoe":
            return library.MMOE(fields, count, n_expert=count, expert_params={"dims": [16]}, tower_params={"dims": [8]})
        case "ple":
            experts = {"n_level": 1, "n_expert_specific": 2, "n_expert_shared": 1}
            return library.PLE(fields, count, **experts, expert_params={"dims": [16]}, tower_params={"dims": [8]})
        case "star":
            return library.Star(fields, count, fcn_dims=[128, 64, 32], aux_dims=[32])
        case "sarnet":
            return library.Sarnet(fields, count, domain_shared_expert_num=8, domain_specific_expert_num=2)
        case "epnet":
            return library.EPNet(scenario, fields, fcn_dims=[128, 64, 32])
        case "ppnet":
            keys = [f for f in fields if f.name in ids]
            return library.PPNet(keys, [f for f in fields if f.name not in ids] + scenario, count, fcn_dims=[128, 64, 32])
        case "adasparse":
            pruning = {"form": "Fusion", "epsilon": 1e-2, "alpha": 1.0, "delta_alpha": 1e-4}
            return library.AdaSparse(scenario, fields, **pruning, mlp_params={"dims": [32, 32], "dropout": 0.2, "activation": "relu"})
        case "m3oe":
            return library.M3oE(fields, count, fcn_dims=[128, 64, 64, 32], expert_num=4, exp_d=1, exp_t=1, bal_d=1, bal_t=1)
        case "hamur":
            return library.HamurSmall(fields, count, fcn_dims=[256, 128], hyper_dims=[64], k=35)
        case "m2m":
            widths = {"num_encoder_layers": 2, "num_decoder_layers": 2, "dim_feedforward": 16}
            return library.M2M(fields + scenario, scenario, count, num_experts=4, expert_output_size=16, transformer_dims=widths)
    raise SystemExit(f"no model {name}; there are {', '.join(MODELS)}")


MODELS = ("sharedbottom", "mmoe", "ple", "star", "sarnet", "epnet", "ppnet", "adasparse", "m3oe", "hamur", "m2m")


def lists(hot, pad):
    """Ids of lists (rows, longest list), filled up with `pad`, from their zeros and ones."""
    out = np.full((len(hot), max(1, hot.sum(1).max())), pad, dtype=np.int64)
    for row, values in enumerate(hot):
        ids = np.flatnonzero(values)
        out[row, : len(ids)] = ids
    return out


def tensors(data, part):
    """The library's inputs, by the names of its features, and the labels."""
    x = {}
    for field in data.fields:
        column = part.columns[field.name]
        x[field.name] = torch.from_numpy(lists(column, field.size()) if field.kind == "multi" else column)
    x[SCENARIO] = torch.from_numpy(part.scenarios)
    return x, torch.from_numpy(part.labels)


def take(x, rows):
    return {k: v[rows] for k, v in x.items()}


def predict(model, x, batch):
    """Probabilities of all rows, in batches of at most `batch` in their order."""
    model.eval()
    rows = len(x[SCENARIO])
    with torch.no_grad():
        parts = [model(take(x, slice(at, at + batch))).reshape(-1) for at in range(0, rows, batch)]
    return torch.cat(parts).numpy()


def fit(args, data, parts, name, lr, weight_decay, seed):
    """The model at its best epoch, that epoch's validation AUC, the epochs run, and the seconds of it all,
    which are the processor's: with one thread they are those of an idle machine, whatever else runs."""
    torch.manual_seed(seed)
    start = time.process_time()
    model = build(name, data, args.ids)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    loss_of = torch.nn.BCELoss()
    x, y = parts["train"]
    valid, valid_labels = parts["valid"]
    best, best_auc, since = None, 0.0, 0
    for epoch in range(1, args.epochs + 1):
        model.train()
        for rows in torch.tensor_split(torch.randperm(len(y)), -(-len(y) // args.batch)):
            loss = loss_of(model(take(x, rows)), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        auc = roc_auc_score(valid_labels.numpy(), predict(model, valid, args.batch))
        if auc > best_auc:
            best, best_auc, since = copy.deepcopy(model), auc, 0
        else:
            since += 1
            if since == PATIENCE:
                break
    return best, {"valid_auc": best_auc, "epochs": epoch, "seconds": time.process_time() - start}


def study(args, data, parts, name):
    """Searches, fits each seed, judges, and prints."""
    pairs = list(itertools.product(args.lr, args.weight_decay))
    trials = []
    for lr, weight_decay in pairs if len(pairs) > 1 else []:
        _, found = fit(args, data, parts, name, lr, weight_decay, args.search_seed)
        trials.append({"lr": lr, "weight_decay": weight_decay, **found})
        print(f"{name}: lr {lr}, weight decay {weight_decay}: validation AUC {found['valid_auc']:.4f}, {found['seconds']:.0f} s", flush=True)
    if trials:
        best = max(trials, key=lambda t: t["valid_auc"])
        pairs = [(best["lr"], best["weight_decay"])]
    runs = []
    for seed in args.seeds:
        model, found = fit(args, data, parts, name, *pairs[0], seed)
        judged = protocol.judge(data.test, data.scenarios, predict(model, parts["test"][0], args.batch))
        runs.append({"seed": seed, **judged, **found})
    protocol.report(name, runs)
    print(f"{name}: lr {pairs[0][0]}, weight decay {pairs[0][1]}", flush=True)
    return {"lr": pairs[0][0], "weight_decay": pairs[0][1], "batch": args.batch, "trials": trials, "runs": runs, **protocol.summary(runs)}


def arguments(text):
    """The arguments of whatever runs the library's models."""
    parser = protocol.arguments(text)
    parser.add_argument("--library", help="folder of the library, when it is not installed")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS, metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--ids", nargs="+", default=["user_id", "item_id"], help="fields that are PPNet's ids")
    return parser


def prepare(args):
    """Makes the library importable, and the data ready."""
    torch.set_num_threads(1)
    if args.library:
        sys.path.insert(0, args.library)
    try:
        import scenario_wise_rec.models.multi_domain  # noqa: F401
    except ImportError:
        raise SystemExit("no scenario_wise_rec: clone https://github.com/Xiaopengli1/Scenario-Wise-Rec and give its folder as --library") from None
    data = protocol.load(args.config, args.data)
    return data, {part: tensors(data, getattr(data, part)) for part in protocol.PARTS}


def main():
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--search-seed", type=int, default=0)
    parser.add_argument("--lr", type=float, nargs="+", default=[1e-3])
    parser.add_argument("--weight-decay", type=float, nargs="+", default=[1e-4, 1e-3])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    data, parts = prepare(args)
    version = f"torch {torch.__version__}, Python {platform.python_version()}"
    found = {"version": version}
    for name in args.models:
        found[name] = study(args, data, parts, name)
        protocol.save(args.json, found)
    print(version)


if __name__ == "__main__":
    main()
