"""Compares the answers of exported PyTorch modules with those of `optmsm predict`."""

import csv
import importlib.util
import json
import math

import torch

from curve import Curve

try:
    import numpy as np
except ImportError:
    np = None
    print("SKIPPED: values of numpy, which this Python lacks")

CLOSE = 1e-6  # what docs/export.md promises: some eight units of a probability near 1, and of sums in another order


def loaded(folder):
    spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(folder)


def typed(row):
    """The row as a program may have it: numbers, None, booleans, lists."""
    row = dict(row)
    if "cents" in row:
        # The text NaN is a value here, for data.null_values does not name it; a number that is NaN would be missing.
        word = {"1": 1, "1.0": 1.0, "True": True, "": None}
        row["word"] = word.get(row["word"], row["word"])
        level = {"NULL": None, "-": None}
        row["level"] = level[row["level"]] if row["level"] in level else float(row["level"])
        return row | {"ilist": json.loads(row["ilist"]), "cents": row["cents"]}
    if "small" in row:
        word = {"-999": -999, "-999.0": -999.0, "1": 1, "true": True, "0.1": 0.1, "7": 7, "2": 2.0}
        row["word"] = word.get(row["word"], row["word"])
        row["tags"] = [word.get(tag, tag) for tag in row["tags"].split("|")] if row["tags"] else math.nan
        row["small"] = float(row["small"] or "nan")
        row["code"] = int(row["code"]) if row["code"] else math.nan
        return row | {"ilist": json.loads(row["ilist"])}
    for name in ("age", "price", "income", "score", "rank", "visits"):
        row[name] = None if row[name] in ("", "NA") else float(row[name])
    row["code"] = None if row["code"] == "" else float(row["code"])
    row["hashed"] = row["hashed"] or None
    row["flag"] = {"true": True, "False": False, "1": 1, "TRUE": True, "": None}[row["flag"]]
    # A table has NaN for a missing list.
    for name, by in (("tags", "|"), ("hlist", "|"), ("words", ",")):
        row[name] = [item.strip() for item in row[name].split(by)] if row[name] else math.nan
    pairs = [(item.split(":") + [1])[:2] for item in row["wtags"].split("|")]
    row["wtags"] = [(name, float(weight)) for name, weight in pairs]
    return row


def in_a_table(row):
    """The same with the types of numpy, as the columns of a table have them."""
    return {name: of_numpy(value) for name, value in typed(row).items()}


def of_numpy(value):
    if isinstance(value, (list, tuple)):
        array = np.empty(len(value), dtype=object)
        for i, item in enumerate(value):
            array[i] = of_numpy(item)
        same = len({type(item) for item in array}) == 1 and array[0].ndim == 0 if len(array) else False
        return np.array(list(array)) if same else array
    if isinstance(value, float):
        narrow = np.float32(value)
        return narrow if value != value or float(str(narrow)) == value else np.float64(value)
    types = {type(None): lambda _: np.float32("nan"), bool: np.bool_, int: np.int64, str: np.str_}
    return types[type(value)](value)


def check(case):
    model = loaded(case["torch"])
    rows = list(csv.DictReader(open(case["rows"], newline="")))
    wanted = [float(row["prediction"]) for row in csv.DictReader(open(case["answers"], newline=""))]
    facts = model.encoder.spec["facts"]
    worst, curve = 0.0, Curve(case, json.loads(facts["scenarios"]))
    for some in [range(len(rows)), [0], [3, 4], [i % len(rows) for i in range(1000)]]:
        for change in (dict, typed, in_a_table) if np else (dict, typed):
            changed = [change(rows[i]) for i in some]
            found = zip(some, model.predict(changed), model.logit(*model.encode(changed)).tolist())
            far = [curve.far(p, logit, rows[i]["place"], wanted[i], CLOSE) for i, p, logit in found]
            worst = max([worst] + far)
    assert worst <= CLOSE, f"{case['torch']}: {worst} away"
    assert model.predict([]) == []
    for name, value in case["raises"]:
        try:
            found = model.predict([rows[0] | {name: value}])
        except ValueError:
            continue
        raise AssertionError(f"{case['torch']}: {name} = {value!r} gives {found}")
    for name, good, refused in case["refuses"]:
        assert all(map(math.isfinite, model.predict([rows[0] | {name: good}])))
        try:
            found = model.predict([rows[0] | {name: refused}])
        except ValueError:
            continue
        raise AssertionError(f"{case['torch']}: {name} = {refused!r} gives {found}")
    assert all(not p.requires_grad for p in model.parameters()) and math.isfinite(worst)
    return f"{case['torch']}: at most {worst:.1e} away"


torch.set_num_threads(1)
cases = json.load(open("checks.json"))
for case in cases:
    print(check(case))
print(f"{len(cases)} checked")
