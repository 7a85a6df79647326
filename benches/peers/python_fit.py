"""Times the Python package: against the program, LightGBM and a loop of PyTorch on the same rows, and the memory of streams.

    python python_fit.py --rows 1000000 --turns 5 --stream-rows 10000000 --md docs/benchmarks/python.md

Sides are run in turn, each in a process of its own, and medians are compared. Needs the package, `polars`, `pyarrow`, `lightgbm`, `scikit-learn` and `torch`.
A figure is of this machine; the sides share its cores with nothing else, or it is worth little.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

FIELDS = ["user_id", "item_id", "user_segment", "category", "position", "device"]
EPOCHS, BATCH = 3, 2048


def config(folder):
    """The same settings for the program and the package: a plain network, as the loop has it."""
    fields = [{"name": name} for name in FIELDS] + [{"name": "price", "kind": "numeric"}]
    return {
        "data_dir": str(folder),
        "data": {"train": "train.parquet", "label": "label", "scenario": "scenario", "fields": fields},
        "model": {"kind": "dnn", "embedding_dim": 16, "init_std": 0.1, "dnn": {"hidden": [128, 64]}},
        "train": {"epochs": EPOCHS, "batch_size": BATCH, "seed": 1, "optimizer": {"rule": "adam", "lr": 0.002}},
    }


def auc(labels, predictions):
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, predictions))


def program(folder):
    """The program on the file; the time is that of its process."""
    run = folder / f"run-program-{os.getpid()}"
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "optmsm", "train", "--config", str(folder / "config.toml"), "--run", str(run), "--quiet"],
        check=True,
        capture_output=True,
    )
    return {"seconds": time.perf_counter() - begun, "run": str(run)}


def package(folder):
    """The package on a frame in memory; the time is that of the call."""
    import optmsm
    import polars

    table = polars.read_parquet(folder / "train.parquet")
    run = folder / f"run-package-{os.getpid()}"
    begun = time.perf_counter()
    done = optmsm.train(optmsm.Config(folder / "config.toml"), run, data=table, progress=False)
    seconds = time.perf_counter() - begun
    test = polars.read_parquet(folder / "test.parquet")
    return {"seconds": seconds, "auc": auc(test["label"].to_numpy(), done.predict(test)), "run": str(run)}


def estimator(folder):
    """The estimator as its users call it, with what it guesses: OptMSM, a tenth of the rows held out, early stopping."""
    import optmsm
    import polars

    table = polars.read_parquet(folder / "train.parquet").drop("true_probability")
    begun = time.perf_counter()
    model = optmsm.OptMsmClassifier("scenario").fit(table, "label")
    seconds = time.perf_counter() - begun
    test = polars.read_parquet(folder / "test.parquet").drop("true_probability")
    return {"seconds": seconds, "passes": model.n_iter_, "auc": auc(test["label"].to_numpy(), model.predict_proba(test)[:, 1])}


def lightgbm(folder):
    """LightGBM's defaults on the same columns, categories as its own; from the frame to the fitted model."""
    import lightgbm
    import polars

    columns = ["scenario", *FIELDS, "price"]
    kinds = {name: polars.Categorical() for name in columns if name not in ("price", "position")}
    both = polars.concat([polars.read_parquet(folder / f"{part}.parquet").with_columns(part=polars.lit(part)) for part in ("train", "test")])
    begun = time.perf_counter()
    coded = both.select("label", "part", "price", *(polars.col(name).cast(polars.String).cast(kind).to_physical() for name, kind in kinds.items()), "position")
    x = lambda part: coded.filter(polars.col("part") == part).select(columns).to_numpy()  # noqa: E731
    y = lambda part: coded.filter(polars.col("part") == part)["label"].to_numpy()  # noqa: E731
    data = lightgbm.Dataset(x("train"), y("train"), feature_name=columns, categorical_feature=[c for c in columns if c != "price"])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, data, 100)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "rounds": 100, "auc": auc(y("test"), booster.predict(x("test")))}


def torch(folder):
    """A loop of PyTorch for the same plain network, from the frame to the trained model; rows are shuffled as a whole, in memory."""
    import polars
    import torch as t

    t.manual_seed(1)
    categories = ["scenario", *FIELDS]
    train, test = (polars.read_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
    begun = time.perf_counter()
    ids = {name: {value: i + 1 for i, value in enumerate(train[name].unique().to_list())} for name in categories}
    mean, deviation = train["price"].mean(), train["price"].std()

    def encoded(table):
        columns = [table[name].replace_strict(ids[name], default=0, return_dtype=polars.Int64).to_numpy() for name in categories]
        price = ((table["price"].fill_null(mean) - mean) / deviation).to_numpy().astype("float32")
        return t.stack([t.from_numpy(column.copy()) for column in columns], 1), t.from_numpy(price)[:, None]

    class Network(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = t.nn.ModuleList([t.nn.Embedding(len(ids[name]) + 1, 16) for name in categories])
            for table in self.tables:
                t.nn.init.normal_(table.weight, std=0.1)
            width = 16 * len(categories) + 1
            self.layers = t.nn.Sequential(t.nn.Linear(width, 128), t.nn.ReLU(), t.nn.Linear(128, 64), t.nn.ReLU(), t.nn.Linear(64, 1))

        def forward(self, ids, price):
            parts = [table(ids[:, i]) for i, table in enumerate(self.tables)]
            return self.layers(t.cat([*parts, price], 1))[:, 0]

    network, (x, price) = Network(), encoded(train)
    y = t.from_numpy(train["label"].to_numpy().astype("float32"))
    optimizer, loss = t.optim.Adam(network.parameters(), 0.002), t.nn.BCEWithLogitsLoss()
    for _ in range(EPOCHS):
        order = t.randperm(len(y))
        for at in range(0, len(y), BATCH):
            rows = order[at : at + BATCH]
            optimizer.zero_grad(set_to_none=True)
            loss(network(x[rows], price[rows]), y[rows]).backward()
            optimizer.step()
    seconds = time.perf_counter() - begun
    with t.no_grad():
        found = network(*encoded(test)).sigmoid().numpy()
    return {"seconds": seconds, "auc": auc(test["label"].to_numpy(), found)}


def peak():
    """Most memory that this process has had, in MiB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def again(folder, rows):
    """A reader of so many rows, which makes its batches as they are asked for: those of the file, over and over."""
    import pyarrow
    import pyarrow.parquet

    batches = pyarrow.parquet.read_table(folder / "train.parquet").to_batches(65536)

    def each():
        left = rows
        while left:
            for batch in batches:
                batch = batch.slice(0, left)
                left -= batch.num_rows
                yield batch
                if not left:
                    return

    return pyarrow.RecordBatchReader.from_batches(batches[0].schema, each())


def stream_train(folder, rows):
    """Training on a reader of many rows."""
    import optmsm

    reader = again(folder, rows)
    before = peak()
    settings = config(folder)
    settings["train"]["epochs"] = 1
    settings["data"]["stream"] = {"mode": "always", "folder": str(folder / "cache")}
    begun = time.perf_counter()
    optmsm.train(settings, folder / f"run-stream-{rows}", data=reader, progress=False)
    return {"rows": rows, "seconds": time.perf_counter() - begun, "before": before, "peak": peak()}


def stream_predict(folder, run, rows):
    """Predicting a reader of many rows, batch by batch; the bytes that went through it are counted."""
    import optmsm
    import pyarrow

    reader, run = again(folder, rows), optmsm.Run(run)
    columns = [name for name in reader.schema.names if name not in ("label", "true_probability")]
    first = None
    bytes_, count, begun = 0, 0, time.perf_counter()
    for batch in run.predict_batches(b.select(columns) for b in reader):
        bytes_ += sum(pyarrow.compute.binary_length(c).sum().as_py() if pyarrow.types.is_string(c.type) or pyarrow.types.is_large_string(c.type) else c.nbytes for c in batch.columns)
        count += batch.num_rows
        if first is None and count > rows // 20:
            first = peak()
    return {"rows": count, "bytes": bytes_, "seconds": time.perf_counter() - begun, "after a twentieth": first, "peak": peak()}


def alone(*call):
    """Runs a function of this file in a process of its own."""
    text = subprocess.run([sys.executable, __file__, "--call", *map(str, call)], check=True, capture_output=True, text=True).stdout
    return json.loads(text.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--stream-rows", type=int, default=10_000_000)
    parser.add_argument("--md", type=pathlib.Path)
    parser.add_argument("--call", nargs="+")
    options = parser.parse_args()
    if options.call:
        name, folder, *rest = options.call
        print(json.dumps(globals()[name](pathlib.Path(folder), *(int(r) if r.isdigit() else r for r in rest))))
        return
    import optmsm
    import polars

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        # Both parts are of one draw: the first rows train.
        everything = polars.read_parquet(optmsm.synth(folder / "all.parquet", rows=options.rows * 11 // 10))
        everything[: options.rows].write_parquet(folder / "train.parquet")
        everything[options.rows :].write_parquet(folder / "test.parquet")
        optmsm.Config(config(folder)).save(folder / "config.toml")
        sides = {"program": [], "package": [], "estimator": [], "lightgbm": [], "torch": []}
        for turn in range(options.turns):
            for side, found in sides.items():
                found.append(alone(side, folder))
                print(turn, side, found[-1], file=sys.stderr, flush=True)
        same = [pathlib.Path(sides[side][0]["run"]) / "checkpoints/best.safetensors" for side in ("program", "package")]
        streams = [alone("stream_train", folder, rows) for rows in (options.stream_rows // 10, options.stream_rows)]
        predicted = alone("stream_predict", folder, sides["package"][0]["run"], options.stream_rows * 3)
        print(streams, predicted, file=sys.stderr)
        text = page(options, sides, same[0].read_bytes() == same[1].read_bytes(), streams, predicted)
    if options.md:
        options.md.write_text(text, encoding="utf-8")
    print(text)


def page(options, sides, same, streams, predicted):
    """The figures as Markdown."""
    import lightgbm
    import optmsm
    import polars
    import torch

    model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    middle = {side: statistics.median(one["seconds"] for one in found) for side, found in sides.items()}
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(sides["package"], sides["program"])]
    rows = [
        ("`optmsm train`, from Parquet, process and all", "program", f"{EPOCHS} passes, `dnn`"),
        ("`optmsm.train`, from a polars frame", "package", f"{EPOCHS} passes, `dnn`"),
        ("a loop of PyTorch, from the frame", "torch", f"{EPOCHS} passes, the same network"),
        ("LightGBM, from the frame", "lightgbm", "100 rounds, its defaults"),
        ("`OptMsmClassifier`, from the frame", "estimator", f"{sides['estimator'][0]['passes']} passes until early stopping, `optmsm`, what it guesses (lists, too)"),
    ]
    shown = lambda side: f"{sides[side][0]['auc']:.4f}" if "auc" in sides[side][0] else "the same model"  # noqa: E731
    table = "\n".join(f"| {name} | {work} | {middle[side]:.1f} | {shown(side)} |" for name, side, work in rows)
    small, large = streams
    return f"""# The Python package: time and memory

Written by `benches/peers/python_fit.py` with `--rows {options.rows} --turns {options.turns} --stream-rows {options.stream_rows}` on {time.strftime("%Y-%m-%d")}.

Machine: {model}, {os.cpu_count()} cores, shared with others' work; CPython {platform.python_version()}, polars {polars.__version__}, LightGBM {lightgbm.__version__}, PyTorch {torch.__version__}, optmsm {optmsm.__version__}.

## Time

{options.rows:,} synthetic rows of the demo's kind, {options.rows // 10:,} more to judge by. Medians of {options.turns} turns, each in a process of its own; what each has to do to come from its input to a trained model is in its time. LightGBM and PyTorch have all cores.

| side | work | seconds | test AUC |
|---|---|---|---|
{table}

`optmsm.train` takes {statistics.median(ratios):.2f} times the time of the program on the same rows (median of the ratios within a turn, which are from {min(ratios):.2f} to {max(ratios):.2f}); the checkpoints are {"the same, byte for byte" if same else "NOT the same"}.

The sides differ in what they are: LightGBM has 100 rounds whatever it would need, the networks {EPOCHS} passes; the table says what a user waits for, not which model is best (that is [models.md](models.md)).

## Memory of streams

A `pyarrow.RecordBatchReader` whose batches are made as they are asked for, trained on for one pass with `data.stream.mode = "always"`; the most memory of the whole process, and what it had before the call (libraries, and the batches that the reader repeats).

| rows | seconds | before, MiB | peak, MiB |
|---|---|---|---|
| {small["rows"]:,} | {small["seconds"]:.1f} | {small["before"]:.0f} | {small["peak"]:.0f} |
| {large["rows"]:,} | {large["seconds"]:.1f} | {large["before"]:.0f} | {large["peak"]:.0f} |

`Run.predict_batches` on a reader of {predicted["rows"]:,} rows, {predicted["bytes"] / 1e9:.1f} GB of values: {predicted["seconds"]:.1f} s, {predicted["after a twentieth"]:.0f} MiB after a twentieth of the rows, {predicted["peak"]:.0f} MiB at most.
"""


if __name__ == "__main__":
    main()
