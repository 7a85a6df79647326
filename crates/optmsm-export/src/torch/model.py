"""A model that OptMSM trained, with all that leads from the values of a row to its probability.

    model = load("this folder")
    model.predict([{"column": value, ...}, ...])        # a list of probabilities

`predict` takes rows as a file has them: texts, numbers, None or NaN for missing values, and lists for fields with lists, also as numpy
and pandas have them. `forward` takes tensors, as `encode` makes them, and returns probabilities [N] on the device of the module.
"""

import ast
import json
import math
import re
import struct
from pathlib import Path

import torch
import torch.nn.functional as F

TYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}


def load(folder=None):
    """The model of a folder: by default the one that this file lies in."""
    folder = Path(__file__).parent if folder is None else Path(folder)
    fields = json.loads((folder / "fields.json").read_text(encoding="utf-8"))
    return Model(read_safetensors(folder / "model.safetensors"), fields).eval()


def read_safetensors(path):
    """Tensors of a safetensors file by name."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        start, tensors = 8 + length, {}
        for name, info in header.items():
            if name == "__metadata__":
                continue
            first, end = info["data_offsets"]
            file.seek(start + first)
            data = bytearray(file.read(end - first))
            shape = info["shape"]
            if math.prod(shape) == 0:
                tensors[name] = torch.zeros(shape, dtype=TYPES[info["dtype"]])
            else:
                tensors[name] = torch.frombuffer(data, dtype=TYPES[info["dtype"]]).reshape(shape)
    return tensors


class Model(torch.nn.Module):
    """Embedding tables and folded weights, which are buffers; nothing is a parameter."""

    def __init__(self, tensors, fields):
        super().__init__()
        self.encoder = Encoder(fields)
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "/"), tensor)

    def tensor(self, name):
        return self._buffers[name.replace(".", "/")]

    @torch.no_grad()
    def predict(self, rows):
        """Probabilities of rows: dictionaries from columns to values."""
        return self(*self.encode(rows)).tolist()

    def encode(self, rows):
        """Numbers of scenarios [N], and by field ids [N], numbers [N], or ids and coefficients [N, L] of lists."""
        device = self.tensor("answer.shifts").device
        scenario, fields = self.encoder(rows)
        move = lambda x: tuple(t.to(device) for t in x) if isinstance(x, tuple) else x.to(device)
        return move(scenario), {name: move(value) for name, value in fields.items()}

    def forward(self, scenario, fields):
        """Probabilities [N]."""
        z = self.logit(scenario, fields).double() + self.tensor("answer.shifts")[scenario]
        # ANSWER

    def logit(self, scenario, fields):
        """Logits [N], before sampling and calibration."""
        t, n = self.tensor, scenario.shape[0]
        # FORWARD


def lookup(table, ids):
    return F.embedding(ids, table)


def lookup_bag(table, bag):
    ids, coefs = bag
    return (F.embedding(ids, table) * coefs[:, :, None]).sum(1)


def linear_by_columns(x, weight, bias):
    groups, outputs, inputs = weight.shape
    y = torch.einsum("ngi,goi->ngo", x.reshape(-1, groups, inputs), weight)
    return (y if bias is None else y + bias).reshape(-1, groups * outputs)


def linear_by_scenario(x, scenario, weight, bias):
    scenarios, outputs, inputs = weight.shape
    if scenarios > TOGETHER:
        y = torch.einsum("ni,noi->no", x, weight[scenario])
        return y if bias is None else y + bias[scenario]
    y = F.linear(x, weight.reshape(-1, inputs), None if bias is None else bias.reshape(-1))
    return select_by_scenario(y, scenario, outputs)


def select_by_scenario(x, scenario, width):
    parts = x.reshape(x.shape[0], x.shape[1] // width, width)
    return parts[torch.arange(x.shape[0], device=x.device), scenario]


def mix(alpha, e):
    count = alpha.shape[1]
    return (alpha[:, :, None] * e.reshape(e.shape[0], count, e.shape[1] // count)).sum(1)


def layer_norm(x, parts, eps):
    width = x.shape[1] // parts
    return F.layer_norm(x.reshape(-1, parts, width), (width,), eps=eps).reshape(x.shape)


def sigmoid(z):
    return (1 / (1 + torch.exp(-z))).float()


def between(z, logits, probabilities, last):
    """Linear between the points of each row, constant beyond them."""
    above = (logits < z[:, None]).sum(1)
    below = (above - 1).clamp(min=0)[:, None]
    above = torch.minimum(above, last)[:, None]
    l0, l1, p0, p1 = (x.gather(1, at)[:, 0] for x in (logits, probabilities) for at in (below, above))
    p = torch.where((below == above)[:, 0], p0, p0 + (z - l0) / (l1 - l0) * (p1 - p0))
    return torch.where(z.isnan(), z, p).float()


NUMBER = re.compile(r"[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE | re.ASCII)
TOO_LARGE = 2.0**128 - 2.0**103  # the least number that 32 bits round to infinity
WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+", re.ASCII)


class Encoder:
    """Values of rows to ids and numbers, as fields.json says."""

    def __init__(self, spec):
        self.spec = spec
        self.canonical = spec["spelling"] == "canonical"
        self.nulls = {self.respelled(text) for text in spec["nulls"]} - {""}
        self.number_nulls = self.nulls | {self.respelled(text) for text in spec["number_nulls"]}
        self.scenarios = {name: i for i, name in enumerate(spec["scenario"]["names"])}
        self.ids = {}
        for field in spec["fields"]:
            if "listed" in field:
                self.ids[field["name"]] = {value: i + 1 for i, value in enumerate(field["listed"])}

    def __call__(self, rows):
        rows = list(rows)
        scenario = torch.tensor([self.scenario(row) for row in rows], dtype=torch.int64)
        return scenario, {field["name"]: self.column(field, rows) for field in self.spec["fields"]}

    def column(self, field, rows):
        values = [value_of(row, field["column"]) for row in rows]
        kind = field["kind"]
        if kind == "list":
            return self.lists(field, values)
        if kind == "number":
            return torch.tensor([self.number(field, v) for v in values], dtype=torch.float32)
        one = self.bucket if kind == "buckets" else lambda field, v: self.id(field, self.text(v))
        return torch.tensor([one(field, v) for v in values], dtype=torch.int64)

    def respelled(self, text):
        """One spelling for all of a value: 1024 for 1024.0, 1 for True."""
        if not self.canonical:
            return text
        if text in ("true", "True", "TRUE"):
            return "1"
        if text in ("false", "False", "FALSE"):
            return "0"
        whole = WHOLE.fullmatch(text)
        return whole[1] if whole else text

    def text(self, value):
        """The text of a value; the empty one if it is missing."""
        text = self.respelled(written(value))
        return "" if text in self.nulls or (self.canonical and isinstance(value, float) and value != value) else text

    def scenario(self, row):
        column = self.spec["scenario"]["column"]
        name = self.text(value_of(row, column))
        number = self.scenarios.get(name, self.spec["scenario"]["fallback"])
        if name == "" or number is None:
            raise ValueError(f"{column}: scenario {name!r} is not one that training saw")
        return number

    def id(self, field, text):
        if text == "" and field["missing"] is not None:
            return field["missing"]
        if "listed" in field:
            return self.ids[field["name"]].get(text, 0)
        if "buckets" in field:
            return 1 + hashed(text, field["seed"]) % field["buckets"]
        if text == "":
            return 0
        number = plain(text.strip(), ".", None)
        if number is None or not (0 <= number < field["below"] and number == int(number)):
            raise ValueError(f"{field['column']}: {text!r} is not an integer from 0 to {field['below'] - 1}")
        return int(number) + 1

    def lists(self, field, values):
        bags = [self.bag(field, value) for value in values]
        length = max((len(bag) for bag in bags), default=0)
        fill = lambda items, with_: items + [with_] * (length - len(items))
        ids = [fill([id for id, _ in bag], 0) for bag in bags]
        coefs = [fill([w / len(bag) if field["mean"] else w for _, w in bag], 0.0) for bag in bags]
        shape = (len(bags), length)
        return torch.tensor(ids, dtype=torch.int64).reshape(shape), torch.tensor(coefs).float().reshape(shape)

    def bag(self, field, value):
        items = ((self.text(name), weight) for name, weight in self.items(field, value))
        items = [(name, weight) for name, weight in items if name != ""]
        if field["most"] is not None:
            items = items[: field["most"]]
        if not items and field["missing"] is not None:
            return [(field["missing"], 1.0)]
        return [(self.id(field, name), weight) for name, weight in items]

    def items(self, field, value):
        """Values of a list and their weights: a list of values or of pairs, or a text as a CSV has it."""
        by, trimmed = field["weight_separator"], field["list"] == "trimmed"
        if isinstance(value, list):
            for item in value:
                if isinstance(item, list):
                    name, weight = item
                    yield name, 1.0 if weight is None or by is None else weight_of(name, weight)
                elif isinstance(item, str) and by is not None:
                    yield weighted(item, by, trimmed)
                else:
                    yield item, 1.0
            return
        # The text of a whole list is no value, which would be respelled.
        text = value if isinstance(value, str) else self.text(value)
        if text in self.nulls or text == "":
            return
        if field["list"] == "json":
            parts = [part for part in map(written, bracketed(text)) if part != ""]
        else:
            parts = text.split(field["separator"])
        for part in parts:
            part = part.strip() if trimmed else part
            if part != "":
                yield weighted(part, by, trimmed) if by is not None else (part, 1.0)

    def parse(self, field, value):
        """A number, or None for a missing one."""
        if isinstance(value, str):
            text = value.strip()
            number = plain(text, field["decimal"], field["thousands"])
            if number is None:
                if text == "" or text in self.number_nulls:
                    return None
                if not self.canonical or self.respelled(text) not in ("0", "1"):
                    raise ValueError(f"{field['column']}: {value!r} is not a number")
                number = float(self.respelled(text))
        elif value is None:
            return None
        else:
            number = float(value) if self.canonical and isinstance(value, bool) else real(value)
            if number is None:
                raise ValueError(f"{field['column']}: {value!r} is not a number")
        if number != number or number in self.spec["null_numbers"]:
            return None
        if abs(number) > 3.4028234663852886e38:
            raise ValueError(f"{field['column']}: {value!r} is too large for a 32-bit number")
        return number

    def bucket(self, field, value):
        number = self.parse(field, value)
        cuts = field["cuts"]
        return len(cuts) + 2 if number is None else 1 + sum(cut <= number for cut in cuts)

    def number(self, field, value):
        v, change = self.parse(field, value), field["change"]
        if v is None:
            return field["fill"]
        if change == "linear":
            v = (v - field["minus"]) / field["by"]
            if not abs(v) < TOO_LARGE:
                raise ValueError(f"{field['column']}: {value!r} is too large for a 32-bit number after its transform")
            return v
        if change == "log1p":
            if v <= -1:
                raise ValueError(f"{field['column']}: {value!r} has no log1p")
            return math.log1p(v)
        return rank(v, field["ladder"])


def value_of(row, column):
    if column not in row:
        raise KeyError(f"a row lacks the column {column!r}")
    return own(row[column])


def own(value):
    """A value, or an array or list of them, without the types of numpy and pandas."""
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) > 0:
        return [own(item) for item in value]
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "f" and value.itemsize < 8:
        # The number that the shortest text means: 0.1 has other digits in 32 bits than in 64.
        return float(str(value.astype("float32")))
    # Times stay: as numbers they would say nothing.
    return value.tolist() if hasattr(value, "tolist") and kind not in ("M", "m") else value


def written(value):
    """The text of a value in a CSV."""
    if value is None:
        return ""
    if isinstance(value, (list, dict, set, frozenset)):
        raise ValueError(f"{value!r} stands where one value is wanted")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == value and abs(value) != math.inf:
        from decimal import Decimal

        text = format(Decimal(repr(value)), "f")
        return text[:-2] if text.endswith(".0") else text
    return "NaN" if value != value else str(value)


def weighted(text, by, trimmed):
    name, found, weight = text.rpartition(by)
    if not found:
        return text, 1.0
    return (name.rstrip() if trimmed else name), weight_of(name, weight)


def weight_of(name, weight):
    number = plain(weight.strip(), ".", None) if isinstance(weight, str) else real(weight)
    if number is None or not abs(number) < TOO_LARGE:
        raise ValueError(f"the weight {weight!r} of {name!r} is not a finite 32-bit number")
    return number


def real(value):
    """A number that no text holds; None for a boolean and what else is none."""
    try:
        return None if isinstance(value, bool) else float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None


def bracketed(text):
    """Values of a list in brackets, as JSON, Python or numpy write it."""
    text = text.strip()
    if text in ("", "null", "None", "NaN", "nan", "set()"):
        return []
    for read in (json.loads, ast.literal_eval):
        try:
            return list(read(text))
        except (ValueError, SyntaxError, TypeError):
            pass
    if text[:1] + text[-1:] in ("[]", "()", "{}"):
        return [part.strip("'\"") for part in re.split(r"[\s,]+", text[1:-1].strip()) if part]
    raise ValueError(f"{text!r} is no list as JSON or Python write one")


def plain(text, decimal, thousands):
    """A number of a text with these marks, or None."""
    if (decimal, thousands) != (".", None):
        at = re.search("[eE" + re.escape(decimal) + "]", text)
        whole, rest = (text[: at.start()], text[at.start() :]) if at else (text, "")
        same = lambda c: thousands is not None and (c == thousands or c.isspace() and thousands.isspace())
        groups = "".join("\0" if same(c) else c for c in whole).split("\0")
        first = groups[0].lstrip("+-")
        fits = (len(groups) == 1 or 1 <= len(first) <= 3) and all(len(group) == 3 for group in groups[1:])
        if not fits or not all(c in "0123456789" for c in first + "".join(groups[1:])):
            return None
        text = "".join(groups) + ("." + rest[len(decimal) :] if rest.startswith(decimal) else rest)
    return float(text) if NUMBER.fullmatch(text) else None


def rank(v, ladder):
    """Place among the values of the training file, from 0 to 1."""
    if not ladder:
        return 0.5
    below, upto, last = sum(q < v for q in ladder), sum(q <= v for q in ladder), len(ladder) - 1
    if below < upto:
        return (below + upto - 1) / 2 / last
    if below == 0:
        return 0.0
    if below > last:
        return 1.0
    low, high = ladder[below - 1], ladder[below]
    return (below - 1 + (v - low) / (high - low)) / last


P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5, ALL = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5, (1 << 64) - 1


def hashed(text, seed):
    """XXH64 of a text's UTF-8."""
    rotate = lambda x, by: ((x << by) | (x >> (64 - by))) & ALL
    stir = lambda lane, word: rotate((lane + word * P2) & ALL, 31) * P1 & ALL
    data = text.encode("utf-8")
    word = lambda at, size: int.from_bytes(data[at : at + size], "little")
    at, end = 0, len(data)
    if end >= 32:
        lanes = [(seed + P1 + P2) & ALL, (seed + P2) & ALL, seed, (seed - P1) & ALL]
        while at + 32 <= end:
            lanes = [stir(lane, word(at + 8 * i, 8)) for i, lane in enumerate(lanes)]
            at += 32
        h = sum(rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18))) & ALL
        for lane in lanes:
            h = ((h ^ stir(0, lane)) * P1 + P4) & ALL
    else:
        h = (seed + P5) & ALL
    h = (h + end) & ALL
    while at + 8 <= end:
        h = (rotate(h ^ stir(0, word(at, 8)), 27) * P1 + P4) & ALL
        at += 8
    if at + 4 <= end:
        h = (rotate(h ^ (word(at, 4) * P1 & ALL), 23) * P2 + P3) & ALL
        at += 4
    while at < end:
        h = rotate(h ^ (data[at] * P5 & ALL), 11) * P1 & ALL
        at += 1
    h = (h ^ (h >> 33)) * P2 & ALL
    h = (h ^ (h >> 29)) * P3 & ALL
    return h ^ (h >> 32)
