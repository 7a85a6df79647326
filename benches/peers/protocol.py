"""Rows, fields, split and metrics of a configuration of `optmsm`, for the peers that are other libraries.

A configuration names the fields; train, valid and test are the files `train.csv`, `valid.csv` and `test.csv` of a folder, or `train.parquet` and so on. Whatever is
learnt of the data (values, means) is learnt of the training rows. As a program, judges predictions that `optmsm predict` wrote:

    python protocol.py --config examples/ml-100k.toml --data FOLDER --name optmsm seed1.csv seed2.csv …

Needs `numpy` and `scikit-learn`, for Parquet `pyarrow`, Python 3.11 or newer.
"""

import argparse
import collections
import csv
import dataclasses
import json
import math
import pathlib
import statistics
import tomllib

import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

UNKNOWN = 0  # the id of values that are missing, rare or not among the training rows
PARTS = ("train", "valid", "test")


@dataclasses.dataclass
class Field:
    """A column that models read. `values` maps a value to its id, from 1 on; a numeric field has `mean` and `deviation` instead."""

    name: str
    column: str
    kind: str
    min_frequency: int = 1
    separator: str = "|"
    values: dict = None
    mean: float = 0.0
    deviation: float = 1.0

    def size(self):
        """Ids there are, with that of unknown values."""
        return len(self.values) + 1

    def split(self, cell):
        """The values of a cell: one for a categorical field, any number for a list."""
        if self.kind == "multi":
            return [v for v in cell.split(self.separator) if v]
        return [cell] if cell else []

    def fit(self, cells):
        """Learns values, or mean and deviation, of the training rows."""
        if self.kind == "numeric":
            numbers = np.array([float(c) for c in cells if c])
            self.mean, self.deviation = numbers.mean(), numbers.std() or 1.0
            return
        counts = collections.Counter(v for c in cells for v in self.split(c))
        kept = sorted(v for v, n in counts.items() if n >= self.min_frequency)
        self.values = {v: i for i, v in enumerate(kept, start=1)}

    def encode(self, cells):
        """Ids (rows), standardized numbers (rows), or zeros and ones of a list's values (rows, size)."""
        if self.kind == "numeric":
            return np.array([(float(c) - self.mean) / self.deviation if c else 0.0 for c in cells], dtype=np.float32)
        if self.kind == "categorical":
            return np.array([self.values.get(c, UNKNOWN) for c in cells], dtype=np.int64)
        hot = np.zeros((len(cells), self.size()), dtype=np.int8)
        for row, cell in enumerate(cells):
            for value in self.split(cell):
                hot[row, self.values.get(value, UNKNOWN)] = 1
        return hot


@dataclasses.dataclass
class Part:
    """Encoded rows: labels of 0 and 1, ids of scenarios, and a column per field by its name."""

    labels: np.ndarray
    scenarios: np.ndarray
    columns: dict


@dataclasses.dataclass
class Data:
    """What a peer trains on: fields, names of scenarios in the order of their ids, and the three parts."""

    fields: list
    scenarios: list
    train: Part
    valid: Part
    test: Part


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_parquet(path, separators):
    """The rows of a Parquet file as those of a CSV file; a list's values stand beside each other with their field's separator between them."""
    from pyarrow import parquet

    def cell(name, value):
        if value is None:
            return ""
        return separators.get(name, "|").join(map(str, value)) if isinstance(value, list) else str(value)

    return [{name: cell(name, value) for name, value in row.items()} for row in parquet.read_table(path).to_pylist()]


def read(folder, part, fields):
    """The rows of a part: those of its CSV file, or of its Parquet file where there is none."""
    path = pathlib.Path(folder) / f"{part}.csv"
    if path.exists():
        return read_csv(path)
    return read_parquet(path.with_suffix(".parquet"), {f.column: f.separator for f in fields})


def load(config, folder, ignored=()):
    """Reads the fields from the file `config` and the rows from `folder`. Settings of a field that change its ids beyond these are an error,
    unless they are `ignored`."""
    table = tomllib.loads(pathlib.Path(config).read_text(encoding="utf-8"))["data"]
    fields = []
    for entry in table["fields"]:
        entry = {"kind": "categorical", "column": entry["name"], **entry}
        entry.pop("role", None)  # peers see all fields alike
        for key in ignored:
            entry.pop(key, None)
        unknown = set(entry) - {"name", "column", "kind", "min_frequency", "separator"}
        if unknown:
            raise SystemExit(f"{config}: field `{entry['name']}`: the peers do not know {', '.join(sorted(unknown))}; take it out")
        fields.append(Field(**entry))
    rows = {part: read(folder, part, fields) for part in PARTS}
    for field in fields:
        field.fit([r[field.column] for r in rows["train"]])
    names = sorted({r[table["scenario"]] for r in rows["train"]})
    unseen = {r[table["scenario"]] for part in PARTS for r in rows[part]} - set(names)
    if unseen:
        raise SystemExit(f"{folder}: no training row is of scenario {', '.join(sorted(unseen))}; leave such rows out")
    parts = {
        part: Part(
            np.array([float(r[table["label"]]) for r in rows[part]], dtype=np.float32),
            np.array([names.index(r[table["scenario"]]) for r in rows[part]], dtype=np.int64),
            {f.name: f.encode([r[f.column] for r in rows[part]]) for f in fields},
        )
        for part in PARTS
    }
    return Data(fields, names, **parts)


def judge(part, names, predictions):
    """AUC of all rows, by scenario and their plain mean, and the log loss, of probabilities of `part`'s rows in their order."""
    predictions = np.asarray(predictions, dtype=np.float64)
    by_scenario = {n: roc_auc_score(part.labels[part.scenarios == i], predictions[part.scenarios == i]) for i, n in enumerate(names)}
    return {
        "auc": roc_auc_score(part.labels, predictions),
        **{f"auc.{n}": a for n, a in by_scenario.items()},
        "mean_auc": statistics.mean(by_scenario.values()),
        "log_loss": log_loss(part.labels, predictions),
    }


def summary(runs):
    """Mean and standard error over seeds, of every number that all runs have; one run has no error."""
    keys = [k for k, v in runs[0].items() if k != "seed" and isinstance(v, (int, float))]
    mean = {k: statistics.mean(r[k] for r in runs) for k in keys}
    error = {k: statistics.stdev(r[k] for r in runs) / math.sqrt(len(runs)) if len(runs) > 1 else None for k in keys}
    return {"mean": mean, "standard_error": error}


def line(name, cells):
    return f"| {name} | " + " | ".join(cells) + " |"


def show(key, value, error=None):
    digits = 1 if key == "seconds" else 0 if key in ("epochs", "rounds") else 4
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{max(digits, 1)}f}")


def report(name, runs):
    """Prints the runs of one model as a table of Markdown, a line per seed, and their mean ± standard error below."""
    both = summary(runs)
    keys = list(both["mean"])
    print(line(name, keys))
    print("|---" * (len(keys) + 1) + "|")
    for run in runs:
        print(line(f"seed {run['seed']}", [show(k, run[k]) for k in keys]))
    print(line(f"mean of {len(runs)}", [show(k, both["mean"][k], both["standard_error"][k]) for k in keys]), flush=True)


def save(path, document):
    """Writes what a script found as JSON, if asked to."""
    if path:
        pathlib.Path(path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def arguments(text):
    """The arguments that all peers take."""
    parser = argparse.ArgumentParser(description=text.split("\n", 1)[0])
    parser.add_argument("--config", required=True, help="configuration of optmsm whose fields are read")
    parser.add_argument("--data", required=True, help="folder with train.csv, valid.csv and test.csv, or the same as Parquet")
    parser.add_argument("--json", help="file for all numbers")
    return parser


def main():
    parser = arguments(__doc__)
    parser.add_argument("--name", default="optmsm", help="heading of the table")
    parser.add_argument("predictions", nargs="+", help="files that `optmsm predict` wrote of test.csv, seed 1 first")
    args = parser.parse_args()
    data = load(args.config, args.data)
    runs = []
    for seed, path in enumerate(args.predictions, start=1):
        predictions = [float(r["prediction"]) for r in read_csv(path)]
        if len(predictions) != len(data.test.labels):
            raise SystemExit(f"{path}: {len(predictions)} predictions, test.csv has {len(data.test.labels)} rows; predict that file")
        runs.append({"seed": seed, **judge(data.test, data.scenarios, predictions)})
    report(args.name, runs)
    save(args.json, {args.name: {"runs": runs, **summary(runs)}})


if __name__ == "__main__":
    main()
