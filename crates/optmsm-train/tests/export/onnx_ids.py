"""The same for a model that takes ids, which are made here from the schema of the run."""

import csv
import json
import os

import numpy as np
import onnx
import onnxruntime

cases = json.load(open("checks.json"))
for case in cases:
    onnx.checker.check_model(case["onnx"], full_check=True)
    assert os.path.getsize(case["onnx"] + ".data") > 0
    session = onnxruntime.InferenceSession(case["onnx"], providers=["CPUExecutionProvider"])
    schema = json.load(open(case["schema"]))["schema"]
    rows = list(csv.DictReader(open(case["rows"], newline="")))
    wanted = np.array([float(row["prediction"]) for row in csv.DictReader(open(case["answers"], newline=""))])
    user, tags, price = [field["encoding"] for field in schema["fields"]]
    ids = lambda encoding: {v: i + 1 for i, v in enumerate(next(iter(encoding.values()))["vocabulary"])}
    stats = price["numeric"]["stats"]
    scenarios = [s["name"] for s in schema["scenarios"]]
    lists = [[ids(tags).get(t, 0) for t in row["tags"].split("|") if t] for row in rows]
    length = max(map(len, lists))
    feed = {
        "scenario": np.array([scenarios.index(row["scenario"]) for row in rows]),
        "user": np.array([ids(user).get(row["user"], 0) for row in rows]),
        "tags": np.array([items + [-1] * (length - len(items)) for items in lists]),
        "price": np.array([(float(row["price"]) - stats["mean"]) / stats["std"] for row in rows], dtype=np.float32),
    }
    (found,) = session.run(["probability"], feed)
    assert np.abs(found - wanted).max() <= 1e-6, np.abs(found - wanted).max()
    for name, value in [("user", -1), ("user", 10_000), ("scenario", -1), ("scenario", 2), ("tags", -2)]:
        wrong = feed | {name: np.array(feed[name])}
        wrong[name].flat[0] = value
        try:
            session.run(["probability"], wrong)
        except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument:
            continue
        raise AssertionError(f"{name} = {value} is no error")
print(f"{len(cases)} checked")
