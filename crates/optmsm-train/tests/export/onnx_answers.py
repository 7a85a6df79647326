"""Compares ONNX Runtime's answers with those of `optmsm predict`. Inputs are made of the CSV here, by what docs/export.md says."""

import csv
import json
import math
import re

import numpy as np
import onnx
import onnxruntime
import xxhash

from curve import Curve

CLOSE = 1e-6  # what docs/export.md promises: some eight units of a probability near 1, and of sums in another order
SEPARATORS = {"tags": "|", "wtags": "|", "words": ",", "hlist": "|"}
NULLS = {"", "NULL", "\\N", "NaN"}


def hashed(text, buckets, salt):
    seed = xxhash.xxh64(salt.encode()).intdigest()
    return 1 + xxhash.xxh64(text.encode(), seed=seed).intdigest() % buckets


def whole(text):
    """Texts of whole numbers have no fraction."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text)


def number(text):
    return math.nan if text in ("", "NA", "nan", "NULL", "-") else float(text)


def padded(lists, with_, dtype):
    length = max((len(items) for items in lists), default=0)
    return np.array([items + [with_] * (length - len(items)) for items in lists], dtype=dtype).reshape(len(lists), length)


def column(name, kind, rows):
    """The input `name` of rows."""
    field = name.removesuffix(".weights")
    texts = [row["place" if name == "scenario" else field] for row in rows]
    if field in SEPARATORS:
        items = [[item.strip() for item in text.split(SEPARATORS[field]) if item.strip()] for text in texts]
        if field == "hlist":
            return padded([[hashed(item, 16, "hlist") for item in row] for row in items], -1, np.int64)
        if field == "wtags":
            pairs = [[(item.split(":") + ["1"])[:2] for item in row] for row in items]
            if name == "wtags.weights":
                return padded([[float(w) for _, w in row] for row in pairs], math.nan, np.float32)
            items = [[item for item, _ in row] for row in pairs]
        return padded([[whole(item) for item in row] for row in items], "", object)
    if field == "code":
        return np.array([-1 if text == "" else int(text) for text in texts], dtype=np.int64)
    if field == "hashed":
        return np.array([hashed(text, 20, "hashed") for text in texts], dtype=np.int64)
    if field == "ilist":
        return padded([json.loads(text) for text in texts], -1, np.int64)
    if field == "cents":
        return np.array([float(text.replace(".", "").replace(",", ".")) for text in texts])
    if field == "word":
        texts = [whole(text) for text in texts]
    if kind == "tensor(double)":
        return np.array([number(text) for text in texts], dtype=np.float64)
    return np.array(texts, dtype=object)


def answers(session, rows):
    feed = {i.name: column(i.name, i.type, rows) for i in session.get_inputs()}
    p, logit = session.run(["probability", "logit"], feed)
    assert p.shape == logit.shape == (len(rows),) and p.dtype == np.float32, (p.shape, logit.shape, p.dtype)
    return p.tolist(), logit.tolist()


def check(case):
    model = onnx.load(case["onnx"])
    onnx.checker.check_model(model, full_check=True)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["model_kind"] and facts["run_fingerprint"] and len(json.loads(facts["fields"])) > 4
    session = onnxruntime.InferenceSession(case["onnx"], providers=["CPUExecutionProvider"])
    rows = list(csv.DictReader(open(case["rows"], newline="")))
    wanted = [float(row["prediction"]) for row in csv.DictReader(open(case["answers"], newline=""))]
    assert len(wanted) == len(rows) > 100 and len(set(wanted)) > 10
    worst, curve = 0.0, Curve(case, json.loads(facts["scenarios"]))
    for some in [range(len(rows)), [0], [1], [7], [3, 4], [i % len(rows) for i in range(1000)]]:
        found = zip(some, *answers(session, [rows[i] for i in some]))
        far = [curve.far(p, logit, rows[i]["place"], wanted[i], CLOSE) for i, p, logit in found]
        worst = max([worst] + far)
    assert worst <= CLOSE, f"{case['onnx']}: {worst} away"
    for name, value in case["raises"]:
        try:
            found = answers(session, [rows[0], rows[1] | {name: value}])
        except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument:
            continue
        raise AssertionError(f"{case['onnx']}: {name} = {value!r} gives {found}")
    return f"{case['onnx']}: {len(model.graph.node)} steps, at most {worst:.1e} away"


cases = json.load(open("checks.json"))
for case in cases:
    print(check(case))
print(f"{len(cases)} checked")
