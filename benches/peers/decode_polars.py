"""Reads the columns of the synthetic data with polars and prints the seconds of each way as one line of JSON.

    POLARS_MAX_THREADS=2 python decode_polars.py FOLDER REPETITIONS

`read` leaves strings as strings; `ids` also turns each text column into ids and logarithms, as an encoder does.
"""

import json
import platform
import sys
import time

import polars as pl

TEXT = ["scenario", "user_id", "item_id", "user_segment", "category", "position", "device"]
COLUMNS = ["label", *TEXT, "tags", "price", "true_probability"]


def source(folder, kind):
    if kind == "csv":
        return pl.scan_csv(f"{folder}/data.csv").select(COLUMNS)
    return pl.scan_parquet(f"{folder}/data.parquet").select(COLUMNS)


def ids(frame, kind):
    to_ids = [pl.col(c).cast(pl.String).cast(pl.Categorical).to_physical() for c in TEXT]
    tags = pl.col("tags").str.split("|") if kind == "csv" else pl.col("tags")
    tags = tags.list.eval(pl.element().cast(pl.Categorical).to_physical())
    return frame.with_columns(*to_ids, tags, pl.col("price").log1p())


def seconds(folder, kind, encode):
    start = time.perf_counter()
    frame = source(folder, kind)
    frame = (ids(frame, kind) if encode else frame).collect()
    assert frame.height > 0
    return time.perf_counter() - start


def main():
    folder, repetitions = sys.argv[1], int(sys.argv[2])
    out = {f"{kind} {'ids' if encode else 'read'}": [seconds(folder, kind, encode) for _ in range(repetitions)]
           for kind in ["csv", "parquet"] for encode in [False, True]}
    out["version"] = f"polars {pl.__version__}, Python {platform.python_version()}, {pl.thread_pool_size()} threads"
    print(json.dumps(out))


main()
