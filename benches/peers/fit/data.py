"""The rows of MovieLens-100K, read and encoded without any of our code."""

import csv

import torch
import torch.nn.functional as F

from fit.protocol import FIELDS


class Data:
    """Training and test rows as tensors, by ids of the training rows' values; 0 is every other value."""

    def __init__(self, folder):
        train, test = ({k: list(v) for k, v in columns(folder / f"{part}.csv").items()} for part in ["train", "test"])
        self.scenarios = sorted(set(train["scenario"]))
        self.fields = [self.field(f, train[f["name"]]) for f in FIELDS]
        self.train, self.test = self.encoded(train), self.encoded(test)

    def field(self, f, texts):
        """The field as the transcriptions know it, with its ids by value."""
        counts = {}
        for value in (v for text in texts for v in values(f, text)):
            counts[value] = counts.get(value, 0) + 1
        kept = sorted(v for v, n in counts.items() if n >= f.get("min_frequency", 1))
        return {
            "name": f["name"], "role": f.get("role", "shared"), "kind": f.get("kind", "categorical"), "pooling": "mean",
            "vocab": len(kept) + 1, "ids": {v: i + 1 for i, v in enumerate(kept)},
        }

    def encoded(self, table):
        """Tensors by name; a list has -1 behind its ids."""
        rows = {
            "label": torch.tensor([float(v) for v in table["label"]], dtype=torch.float32),
            "scenario": torch.tensor([self.scenarios.index(v) for v in table["scenario"]]),
        }
        for f in self.fields:
            lists = [[f["ids"].get(v, 0) for v in values(f, text)] for text in table[f["name"]]]
            if f["kind"] == "categorical":
                rows[f["name"]] = torch.tensor(lists)[:, 0]
            else:
                longest = max(map(len, lists))
                rows[f["name"]] = torch.tensor([ids + [-1] * (longest - len(ids)) for ids in lists])
        return rows

    def batch(self, rows, taken):
        """What the transcriptions take: these rows, lists one after the other."""
        x = {"label": rows["label"][taken].to(torch.get_default_dtype()), "scenario": rows["scenario"][taken]}
        for f in self.fields:
            key, ids = f"field.{f['name']}", rows[f["name"]][taken]
            if f["kind"] == "multi":
                there = ids >= 0
                x[f"{key}.offsets"] = F.pad(there.sum(dim=1).cumsum(dim=0), (1, 0))
                ids = ids[there]
            x[f"{key}.ids"] = ids
        return x


def columns(path):
    """Texts of a CSV by the column's name."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, zip(*rows)))


def values(f, text):
    """What a text holds: one value, or those of a list."""
    if f.get("kind") == "multi":
        return text.split("|") if text else []
    return [text]
