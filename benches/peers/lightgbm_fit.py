"""Fits LightGBM on the rows, fields and split of a configuration of `optmsm`, and judges the test rows once per seed.

    python lightgbm_fit.py --config examples/ml-100k.toml --data FOLDER --seeds 1 2 3 4 5 --json lightgbm.json --predictions lightgbm/ml-100k
    optmsm bench examples/ml-100k.toml --set data_dir=FOLDER --peer LightGBM=lightgbm

The scenario is one more categorical field. Categorical fields are LightGBM's own categories, a list is a column of 0 and 1 per value.
Settings are drawn at random `--trials` times, the first trial being LightGBM's defaults; the validation AUC chooses among trials, and where each
fit stops. Then each seed is fitted with the settings chosen. A field's transform is left out, since trees do not feel it. One thread. Needs `lightgbm` beside what protocol.py needs.
"""

import pathlib
import platform
import statistics
import time

import lightgbm
import numpy as np
import protocol

ROUNDS, PATIENCE = 3000, 100
FIXED = {"objective": "binary", "metric": "auc", "num_threads": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}
PARTS = ("train", "valid", "test")


def matrix(data, part, numbers):
    """The columns (rows, columns) of a part, their names, and which of them are categories."""
    names, columns, categories = ["scenario"], [part.scenarios], ["scenario"]
    for field in data.fields:
        column = part.columns[field.name]
        if field.kind == "multi":
            names += [f"{field.name}_{i}" for i in range(column.shape[1])]
            columns += list(column.T)
            continue
        if field.name in numbers:
            column = np.array([np.nan, *(float(v) for v in field.values)])[column]  # values are in the order of their ids
        elif field.kind == "categorical":
            categories.append(field.name)
        names.append(field.name)
        columns.append(column)
    return np.column_stack(columns).astype(np.float64), names, categories


def draw(rng):
    """Settings of a trial."""
    def log(low, high):
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    return {
        "num_leaves": int(rng.choice([7, 15, 31, 63, 127, 255])),
        "learning_rate": log(0.02, 0.2),
        "min_data_in_leaf": int(rng.choice([5, 10, 20, 50, 100, 200])),
        "feature_fraction": float(rng.uniform(0.3, 1.0)),
        "bagging_fraction": float(rng.uniform(0.5, 1.0)),
        "bagging_freq": 1,
        "lambda_l2": log(1e-3, 10.0),
        "cat_smooth": log(1.0, 100.0),
        "cat_l2": log(1.0, 100.0),
        "min_data_per_group": int(rng.choice([5, 10, 20, 50, 100])),
        "max_cat_threshold": int(rng.choice([8, 16, 32, 64, 128, 256])),
    }


def fit(settings, seed, parts):
    """A model of the training rows, stopped by the validation AUC, and the processor's seconds of that, with binning."""
    start = time.process_time()
    params = {**FIXED, **settings, "seed": seed}
    sets = []
    for part in ("train", "valid"):
        values, names, categories, labels = parts[part]
        reference = sets[0] if sets else None
        sets.append(lightgbm.Dataset(values, labels, feature_name=names, categorical_feature=categories, reference=reference, params=params))
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    model = lightgbm.train(params, sets[0], ROUNDS, valid_sets=[sets[1]], callbacks=[stop])
    return model, time.process_time() - start


def write(folder, seed, predictions):
    """Writes the probabilities of a seed's test rows as `optmsm predict` does."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "prediction\n" + "".join(f"{p:.9g}\n" for p in predictions)
    (folder / f"seed-{seed}.csv").write_text(text, encoding="utf-8")


def main():
    parser = protocol.arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--trials", type=int, default=20, help="settings that are tried on the validation rows")
    parser.add_argument("--search-seed", type=int, default=0)
    parser.add_argument("--numbers", nargs="*", default=[], help="categorical fields to read as numbers, which trees split in their order")
    parser.add_argument("--predictions", help="folder for what `optmsm bench --peer` reads")
    args = parser.parse_args()
    data = protocol.load(args.config, args.data, ignored=("transform",))
    parts = {}
    for name in PARTS:
        part = getattr(data, name)
        parts[name] = (*matrix(data, part, args.numbers), part.labels)
    rng = np.random.default_rng(args.search_seed)
    trials = []
    for number in range(args.trials):
        settings = draw(rng) if number else {}
        model, seconds = fit(settings, args.search_seed, parts)
        auc = model.best_score["valid_0"]["auc"]
        trials.append({"valid_auc": auc, "rounds": model.best_iteration, "seconds": seconds, "settings": settings})
        print(f"trial {number}: validation AUC {auc:.4f}, {model.best_iteration} rounds, {seconds:.1f} s, {settings}", flush=True)
    chosen = max(trials, key=lambda t: t["valid_auc"])["settings"] if trials else {}
    runs = []
    for seed in args.seeds:
        model, seconds = fit(chosen, seed, parts)
        predictions = model.predict(parts["test"][0])
        judged = protocol.judge(data.test, data.scenarios, predictions)
        if args.predictions:
            write(pathlib.Path(args.predictions), seed, predictions)
        runs.append({"seed": seed, **judged, "valid_auc": model.best_score["valid_0"]["auc"], "rounds": model.best_iteration, "seconds": seconds})
    if args.predictions:
        facts = {"trials": args.trials, "settings": chosen, "seconds": statistics.mean(r["seconds"] for r in runs)}
        protocol.save(pathlib.Path(args.predictions) / "peer.json", facts)
    protocol.report("lightgbm", runs)
    version = f"lightgbm {lightgbm.__version__}, Python {platform.python_version()}"
    print(f"{version}, settings {chosen}")
    protocol.save(args.json, {"lightgbm": {"version": version, "chosen": chosen, "trials": trials, "runs": runs, **protocol.summary(runs)}})


if __name__ == "__main__":
    main()
