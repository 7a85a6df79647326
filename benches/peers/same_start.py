"""Every model kind, trained by OptMSM and by PyTorch from the same values by the same batches: is that the same training?

    cargo build --release -p optmsm-benches --bin same_start
    python same_start.py --data ML100K --optmsm target/release/same_start > docs/benchmarks/models-same-start.md

Rows, fields, settings and steps are those of fit_models.py, and so is what it needs. Where fit_models.py compares means of runs
that chance keeps apart, here a run of one side is held against the same run of the other, and what is left is rounding in f32
that hundreds of steps magnify.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from fit.data import Data
from fit.forms import case_of, check, predicted, shapes
from fit.page import ROOT, processor
from fit.ours import command
from fit.peer import initial, train
from fit.protocol import ADAM, BATCH_SIZE, DIM, EPOCHS, INIT_STD, SETTINGS
from fit.results import metrics

SEEDS = (1, 2)
HEAD = """# Models: ours and PyTorch, trained from the same start

Written by `benches/peers/same_start.py`, which trains; not by hand. The rows, fields, settings and steps are those of
[models-fit.md](models-fit.md); there each side draws its own initial values and order of rows, here both have the same. What is left
is rounding in f32, which {steps} steps of Adam magnify: logits drift apart, to both sides. A mistake would push them to one.
The kinds that normalize, `star` and `hamur`, drift farthest.

| | |
|---|---|
| machine | {machine}, {cores} cores, one thread a run |
| date, commit | {date}, {commit} |
| peer | PyTorch {torch}, f32, Python {python}, numpy {numpy} |

The difference of logits is its mean size over the test rows, beside the standard deviation of the logits.

| kind | seed | AUC, ours | PyTorch | log loss, ours | PyTorch | difference of logits | their deviation |
|---|---|---|---|---|---|---|---|"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of train.csv and test.csv")
    parser.add_argument("--optmsm", type=Path, required=True, help="the program same_start, a release build")
    parser.add_argument("--kinds", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="only these")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Data(args.data)
    check(data)
    rows = len(data.train["label"])
    print(HEAD.format(
        steps=EPOCHS * -(-rows // BATCH_SIZE), machine=processor(), cores=os.cpu_count(), date=datetime.date.today(),
        commit=command("git", "-C", ROOT, "rev-parse", "--short=12", "HEAD").strip(), torch=torch.__version__,
        python=platform.python_version(), numpy=np.__version__,
    ), flush=True)
    for kind in args.kinds:
        for seed in SEEDS:
            torch.manual_seed(seed)
            c = case_of(kind, data)
            start = {name: initial(name, shape) for name, shape in shapes(c).items()}
            order = [b for _ in range(EPOCHS) for b in torch.randperm(rows).tensor_split(-(-rows // BATCH_SIZE))]
            theirs = torch.from_numpy(trained_by_torch(c, start, order, data))
            ours = torch.from_numpy(trained_by_us(kind, start, order, data, args.optmsm))
            a, b = (metrics(data, torch.sigmoid(v).numpy()) for v in (ours, theirs))
            cells = [f"{side[m]:.5f}" for m in ("auc", "log_loss") for side in (a, b)]
            cells += [f"{float((ours - theirs).abs().mean()):.3f}", f"{float(theirs.std()):.2f}"]
            print(f"| `{kind}` | {seed} | {' | '.join(cells)} |", flush=True)


def trained_by_torch(c, start, order, data):
    """Logits of the test rows."""
    run = train(c, {name: value.clone().requires_grad_() for name, value in start.items()}, order, data)
    return predicted(run).numpy()


def trained_by_us(kind, start, order, data, program):
    """Logits of the test rows."""
    own = SETTINGS[kind]
    model = {"kind": kind, "embedding_dim": DIM, "init_std": INIT_STD, **(own if kind == "optmsm" else {kind: own})}
    fields = [{"name": f["name"], "role": f["role"], "kind": form(f)} for f in data.fields]
    said = {
        "model": model,
        "input": {"scenarios": len(data.scenarios), "fields": fields},
        "learner": {"optimizer": {"rule": "adam", **ADAM}},
    }
    tensors = {f"param.{name}": value for name, value in start.items()}
    for part, columns in (("train", data.train), ("test", data.test)):
        tensors |= {f"{part}.{name}": column.long() for name, column in columns.items()}
    tensors["order"] = torch.nn.utils.rnn.pad_sequence(order, batch_first=True, padding_value=-1)
    with tempfile.TemporaryDirectory() as work:
        case, logits = Path(work) / "case.safetensors", Path(work) / "logits"
        save_file({n: v.contiguous() for n, v in tensors.items()}, case, {n: json.dumps(v) for n, v in said.items()})
        subprocess.run([program, case, logits], check=True)
        return np.fromfile(logits, dtype="<f4")


def form(f):
    """A field's kind as our input has it."""
    ids = {"vocab": f["vocab"]}
    return {"multi": {**ids, "pooling": f["pooling"]}} if f["kind"] == "multi" else {"categorical": ids}


if __name__ == "__main__":
    main()
