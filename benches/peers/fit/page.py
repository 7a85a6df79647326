"""The page of a comparison."""

import os
import platform
from datetime import date
from pathlib import Path

import numpy as np
import torch

from fit.ours import command, toml
from fit.protocol import ADAM, BATCH_SIZE, DIM, EPOCHS, INIT_STD, LOOKS, SETTINGS
from fit.results import report

ROOT = Path(__file__).resolve().parents[3]


def processor():
    """Its model."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((l.split(": ", 1)[1] for l in lines if l.startswith("model name")), platform.processor())


def page(results, data, program):
    """All of docs/benchmarks/models-fit.md."""
    commit = command("git", "-C", ROOT, "rev-parse", "--short=12", "HEAD").strip()
    settings = "\n".join(f"| `{kind}` | `{toml(own)}` |" for kind, own in SETTINGS.items())
    adam = ", ".join(f"{k} {v}" for k, v in ADAM.items())
    return f"""# Models: ours and PyTorch, trained

Written by `benches/peers/fit_models.py`, which trains; not by hand. Tests hold every kind to its transcription on small batches; this asks whether whole trainings end at the same.

| | |
|---|---|
| machine | {processor()}, {os.cpu_count()} cores, one thread a run |
| date, commit | {date.today()}, {commit} |
| ours | {command(program, "--version").strip()} |
| peer | PyTorch {torch.__version__}, f32, Python {platform.python_version()}, numpy {np.__version__} |
| data | MovieLens-100K, {len(data.train["label"]):,} training rows, {len(data.test["label"]):,} test rows, scenarios {", ".join(data.scenarios)} |

## Protocol

- Both sides have the same rows and fields (those of [examples/ml-100k.toml](../../examples/ml-100k.toml), vocabularies of the training rows) and the [settings below](#settings); `embedding_dim` {DIM}, no dropout.
- {EPOCHS} passes, shuffled, in ⌈rows / {BATCH_SIZE}⌉ batches that differ by one row at most. No early stopping: the last parameters predict. The number of passes was chosen by validation rows, on our
  side with seed 1: at its end most kinds are about as good as they get.
- Adam ({adam}) at a constant rate, of tables on touched rows alone (`torch.optim.SparseAdam`). No decay, no average, no clipping.
- Initial values of the same distributions ([model.md §7](../model.md#7-initialisation-choice), `init_std` {INIT_STD}), drawn by each side for itself, as is the order of rows. So runs differ as those of two seeds do, and means are compared.
- PyTorch runs the transcriptions of `tests/fixtures` by autograd. Where these gather weights row by row, a faster form stands in, which was checked in f64 first (logits, penalty, gradients).
- AUC and log loss of all test rows by one function for both sides; ours agree with what `optmsm train` says.
- {len(LOOKS[0])} seeds on each side: mean ± standard error of the mean, and the difference of the means (ours − PyTorch) in its standard errors, from both sides' spreads (Welch). Every kind has seeds of its own (kind n of the
  table, from 0: 100 n + 1 and so on), since runs of one seed share tables and the order of rows, and what one kind shows would come again in others.

## Comparison

{report(results, list(SETTINGS))}

## Settings

| kind | settings |
|---|---|
{settings}
"""
