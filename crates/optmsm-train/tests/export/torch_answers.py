"""Compares the answers of exported PyTorch modules with those of `optmsm predict`."""

import csv
import importlib.util
import json
import math

import torch

from curve import Curve

CLOSE = 1e-6


def loaded(folder):
    spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(folder)


def typed(row):
    """The row as a program may have it: numbers, None, booleans, lists."""
    row = dict(row)
    if "ilist" in row:
        # The text NaN is a value here, for data.null_values does not name it; a number that is NaN would be missing.
        word = {"1": 1, "1.0": 1.0, "True": True, "": None}
        row["word"] = word.get(row["word"], row["word"])
        level = {"NULL": None, "-": None}
        row["level"] = level[row["level"]] if row["level"] in level else float(row["level"])
        return row | {"ilist": json.loads(row["ilist"]), "cents": row["cents"]}
    for name in ("age", "price", "income", "score", "rank", "visits"):
        row[name] = None if row[name] in ("", "NA") else float(row[name])
    row["code"] = None if row["code"] == "" else float(row["code"])
    row["hashed"] = row["hashed"] or None
    row["flag"] = {"true": True, "False": False, "1": 1, "TRUE": True, "": None}[row["flag"]]
    row["tags"] = row["tags"].split("|")
    pairs = [(item.split(":") + [1])[:2] for item in row["wtags"].split("|")]
    row["wtags"] = [(name, float(weight)) for name, weight in pairs]
    return row


def check(case):
    model = loaded(case["torch"])
    rows = list(csv.DictReader(open(case["rows"], newline="")))
    wanted = [float(row["prediction"]) for row in csv.DictReader(open(case["answers"], newline=""))]
    facts = model.encoder.spec["facts"]
    worst, curve = 0.0, Curve(case, json.loads(facts["scenarios"]))
    for some in [range(len(rows)), [0], [3, 4], [i % len(rows) for i in range(1000)]]:
        for change in (dict, typed):
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
    assert all(not p.requires_grad for p in model.parameters()) and math.isfinite(worst)
    return f"{case['torch']}: at most {worst:.1e} away"


torch.set_num_threads(1)
cases = json.load(open("checks.json"))
for case in cases:
    print(check(case))
print(f"{len(cases)} checked")
