"""Metrics of runs, what is kept of them, and how the sides compare."""

import json
import math
import os
import time

import numpy as np

from fit import say
from fit.protocol import LOOKS, PROTOCOL, seeds


def metrics(data, found):
    """AUC, ties counted by halves, and mean log loss of probabilities of the test rows."""
    positive, found = data.test["label"].numpy() == 1.0, found.astype(np.float64)
    _, place, counts = np.unique(found, return_inverse=True, return_counts=True)
    rank = (counts.cumsum() - (counts - 1) / 2.0)[place]
    n, m = positive.sum(), (~positive).sum()
    auc = (rank[positive].sum() - n * (n + 1) / 2.0) / (n * m)
    right = np.where(positive, found, 1.0 - found)
    return {"auc": float(auc), "log_loss": float(-np.log(right).mean())}


class Results:
    """Metrics by kind, side and seed; a file has those that are finished."""

    def __init__(self, path):
        self.path, self.protocol = path, json.loads(json.dumps(PROTOCOL))
        kept = json.loads(path.read_text()) if path.exists() else {"protocol": self.protocol, "runs": {}}
        if kept["protocol"] != self.protocol:
            raise SystemExit(f"{path} is of another protocol: take another file")
        self.runs = kept["runs"]

    def fill(self, kind, look, fits, data, pause):
        """Runs what is not there yet; both sides take turns. No run begins while the file `pause` is there."""
        for seed in seeds(kind, look):
            for side, fit in fits.items():
                key = f"{kind}/{side}/{seed}"
                if key in self.runs:
                    continue
                while pause and pause.exists():
                    time.sleep(5)
                begun = time.monotonic()
                self.runs[key] = metrics(data, fit(kind, seed))
                self.save()
                say(f"{key}: {self.runs[key]}, {time.monotonic() - begun:.1f} s")

    def save(self):
        """Replaces the file as a whole, so that an interrupt leaves the old one or the new one."""
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.write_text(json.dumps({"protocol": self.protocol, "runs": self.runs}, indent=1))
        fresh.replace(self.path)

    def of(self, kind, side, look, metric):
        """One number for each run of the look."""
        return np.array([self.runs[f"{kind}/{side}/{seed}"][metric] for seed in seeds(kind, look)])

    def compare(self, kind, look, metric):
        """(mean, standard error) of ours and of PyTorch, and the difference in its standard errors (Welch)."""
        sides = [self.of(kind, side, look, metric) for side in ["ours", "torch"]]
        (ours, e), (peer, f) = found = [(v.mean(), v.std(ddof=1) / len(v) ** 0.5) for v in sides]
        return *found, (ours - peer) / math.hypot(e, f)

    def passes(self, kind, look):
        """Whether both metrics differ by at most two standard errors."""
        return all(abs(self.compare(kind, look, metric)[2]) <= 2.0 for metric in ["auc", "log_loss"])

    def table(self, kinds, look):
        """A line of Markdown for each kind."""
        lines = [
            "| kind | AUC, ours | PyTorch | difference / s.e. | log loss, ours | PyTorch | difference / s.e. | within 2 s.e. |",
            "|---|---|---|---:|---|---|---:|---|",
        ]
        for kind in kinds:
            cells = [f"`{kind}`"]
            for metric in ["auc", "log_loss"]:
                *sides, ratio = self.compare(kind, look, metric)
                cells += [f"{mean:.4f} ± {error:.4f}" for mean, error in sides] + [f"{ratio:+.2f}"]
            lines.append(f"| {' | '.join(cells)} | {'yes' if self.passes(kind, look) else '**no**'} |")
        return "\n".join(lines)

    def ratios(self, kinds, look, metric):
        """Mean and root mean square over the kinds of the difference in standard errors."""
        found = np.array([self.compare(kind, look, metric)[2] for kind in kinds])
        return found.mean(), (found**2).mean() ** 0.5


def report(results, kinds):
    """Tables of every look, and what chance alone would do."""
    first = LOOKS[0]
    over = sum(abs(results.compare(k, first, m)[2]) > 2.0 for k in kinds for m in ["auc", "log_loss"])
    spread = {m: results.ratios(kinds, first, m) for m in ["auc", "log_loss"]}
    lines = [
        results.table(kinds, first),
        "",
        f"{over} of {2 * len(kinds)} differences exceed 2 standard errors. If nothing differed, one would with probability 0.08 "
        f"(Student's t, about 8 degrees of freedom): {0.08 * 2 * len(kinds):.0f} are to be expected. Over the kinds, differences in "
        "standard errors have " + "; ".join(
            f"in {name} mean {mean:+.2f} and root mean square {rms:.2f}"
            for name, (mean, rms) in zip(["AUC", "log loss"], spread.values())
        ) + f" (expected: 0 ± {(8 / 6 / len(kinds)) ** 0.5:.2f}, {(8 / 6) ** 0.5:.2f}).",
    ]
    for before, look in zip(LOOKS, LOOKS[1:]):
        kinds = [kind for kind in kinds if not results.passes(kind, before)]
        if kinds:
            title = f"Another look at what was not within them, {len(look)} fresh seeds on each side, without those above:"
            lines += ["", title, "", results.table(kinds, look)]
    if kinds:
        # Looking again until a look passes would acquit anything, so all fresh runs of the last kinds are judged together.
        fresh = range(LOOKS[1][0], LOOKS[-1][-1] + 1)
        title = (
            f"All {len(fresh)} fresh seeds together, which is what counts for a kind that was looked at three times; "
            "[models-same-start.md](models-same-start.md) has both sides from one start, without what chance does:"
        )
        lines += ["", title, "", results.table(kinds, fresh)]
    return "\n".join(lines)
