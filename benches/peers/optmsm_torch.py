"""The standard work of this repository's benchmarks, written in PyTorch to be as fast as PyTorch goes on a CPU, in f32
and with products in bf16.

The peer of `cargo run --release -p optmsm-benches --bin compare`, which starts it and alternates with it. A server: one
JSON command a line on stdin, one JSON answer a line on stdout, so that compilation happens once and runs can take turns.

    {"cmd": "info"}                                            versions, threads, the modes of each work
    {"cmd": "time", "work": "train/small/compiled", "reps": 5} seconds of each repetition
    {"cmd": "time", "work": "forward/large/4096/eager", "reps": 5}
    {"cmd": "mm", "m": 4096, "n": 256, "k": 512, "kind": "xwT", "count": 2, "reps": 9} on two threads
    {"cmd": "check", "file": "case.safetensors", "size": "small", "kind": "forward",
     "rows": 64, "modes": ["eager"]}
    {"cmd": "model", "settings": {"kind": "ple", ...}, "weight": 0.0}   another model, which is then the work "model/ple/MODE"

The model: 16 shared and 4 specific categorical fields of width 16, three experts [256, 128], specific encoding [64],
gate, cosine penalty, tower [128, 64, 1] whose r × r cores are generated from the scenario's embedding. How it is written
(every choice was timed against its alternatives):

  - all tables are one, a field's ids are shifted to its rows: one lookup, and one gradient, instead of twenty;
  - the experts' first layer is one product, the second one a product an expert (a batched one is a third slower);
  - a step generates the weights of all scenarios once; a row's own core is picked by a one-hot mask after one product
    with all of them side by side, which has static shapes and beats both gathering cores and splitting sorted rows;
  - fused Adam; for sparse gradients SparseAdam on the tables. Tables are looked up outside of the compiled region then,
    because `torch.compile` does not take sparse gradients;
  - inference holds what the hypernetwork generates, as the other side does;
  - bf16 comes in PyTorch's two ways: `autocast`, whose activations are bf16, too, and `medium`, which rounds the operands of f32
    products.

`python optmsm_torch.py --quick` prints the rates of every mode instead of serving.
"""

import argparse
import contextlib
import ctypes
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import types

STOCK = "--stock" in sys.argv
if not STOCK:
    # Before torch is loaded: let it back large tensors by huge pages.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
import torch._dynamo
import torch._inductor.select_algorithm
import torch.nn.functional as F

SHARED, SPECIFIC, SCENARIOS, DIM = 16, 4, 3, 16
EXPERTS, HIDDEN, ENCODING, TOWER = 3, (256, 128), 64, (128, 64, 1)
RANK, TRUNK, SCENARIO_DIM, LAMBDA = 32, 64, 16, 0.1
EPS = 2.0**-10  # the smallest norm that the penalty divides by
ROWS = 4096
BATCHES = 8

TRAIN_MODES = ("eager", "eager-sparse", "compiled", "compiled-sparse")
# Tables of a thousand rows are dense.
MODEL_MODES = ("eager", "compiled")
BF16_MODES = ("eager-autocast", "compiled-autocast", "eager-medium", "compiled-medium")
# What pays at so many rows: `tuned` times products written in C++ against MKL's while it compiles, `aot` is a compiled
# program without Python's guards, for which one thread is the best number at one row.
FORWARD_MODES = {
    4096: ("eager", "compiled", "compiled-frozen", "compiled-tuned"),
    64: ("eager", "compiled", "compiled-frozen", "compiled-tuned", "aot"),
    1: ("eager", "compiled", "aot", "aot-one-thread"),
}
# Of the process whose allocator is left alone: what PyTorch is as installed.
STOCK_MODES = ("eager", "eager-sparse", "compiled")


def vocabularies(size):
    large = [200_000] * 2 + [20_000] * 6 + [1_000] * 8
    return (large if size == "large" else [1_000] * SHARED) + [50] * SPECIFIC


def shapes(size):
    """Name, shape and standard deviation of every parameter."""
    s = {"table": ((sum(vocabularies(size)), DIM), 0.01), "scenario.weight": ((SCENARIOS, SCENARIO_DIM), 0.01)}
    width = SHARED * DIM
    for i, out in enumerate(HIDDEN):
        s[f"experts.{i}.weight"] = ((EXPERTS, out, width), (2 / width) ** 0.5)
        s[f"experts.{i}.bias"] = ((EXPERTS, out), 0.0)
        width = out
    inputs = SPECIFIC * DIM + SCENARIO_DIM
    s["specific.0.weight"] = ((ENCODING, inputs), (2 / inputs) ** 0.5)
    s["specific.0.bias"] = ((ENCODING,), 0.0)
    s["gate.weight"] = ((EXPERTS, ENCODING), (2 / ENCODING) ** 0.5)
    s["gate.bias"] = ((EXPERTS,), 0.0)
    s["hyper.trunk.weight"] = ((TRUNK, SCENARIO_DIM), (2 / SCENARIO_DIM) ** 0.5)
    s["hyper.trunk.bias"] = ((TRUNK,), 0.0)
    width = HIDDEN[-1] + ENCODING
    for l, out in enumerate(TOWER):
        r = min(RANK, width, out)
        s[f"tower.{l}.core.weight"] = ((r * r, TRUNK), (2 / (TRUNK * r)) ** 0.5)
        s[f"tower.{l}.core.bias"] = ((r * r,), 0.0)
        s[f"tower.{l}.left"] = ((width, r), (2 / width) ** 0.5)
        s[f"tower.{l}.right"] = ((r, out), (2 / r) ** 0.5)
        s[f"tower.{l}.shift.weight"] = ((out, TRUNK), (0.2 / TRUNK) ** 0.5)
        s[f"tower.{l}.shift.bias"] = ((out,), 0.0)
        width = out
    return s


def initial(size):
    p = {name: torch.randn(shape) * std for name, (shape, std) in shapes(size).items()}
    for l, out in enumerate(TOWER):
        r = p[f"tower.{l}.left"].shape[1]
        p[f"tower.{l}.core.bias"] = torch.eye(r).flatten()
    return p


def batch(size, rows, generator):
    """Ids (already shifted to their field's rows) [B, F], scenarios [B], labels [B]; ids are floor(u^3 * vocab)."""
    vocab = torch.tensor(vocabularies(size))
    first = torch.cumsum(vocab, 0) - vocab
    u = torch.rand(rows, len(vocab), generator=generator, dtype=torch.float64)
    ids = (u.pow(3) * vocab).long() + first
    scenario = torch.randint(SCENARIOS, (rows,), generator=generator)
    label = (torch.rand(rows, generator=generator) < 0.3).float()
    return ids, scenario, label


# --- the model ------------------------------------------------------------------------------------------------


def generate(p):
    """What the hypernetwork makes for all scenarios: cores side by side [r, S·r] and shifts [S, out], a tower layer each."""
    u = F.relu(F.linear(p["scenario.weight"], p["hyper.trunk.weight"], p["hyper.trunk.bias"]))
    made = []
    for l in range(len(TOWER)):
        r = p[f"tower.{l}.left"].shape[1]
        core = F.linear(u, p[f"tower.{l}.core.weight"], p[f"tower.{l}.core.bias"]).view(SCENARIOS, r, r)
        shift = F.linear(u, p[f"tower.{l}.shift.weight"], p[f"tower.{l}.shift.bias"])
        made.append((core.transpose(0, 1).reshape(r, SCENARIOS * r), shift))
    return made


def encode(p, rows, mask):
    """Experts K × [B, m] and specific encoding [B, p] from the looked-up rows [B, F, d] and the one-hot scenarios [B, S]."""
    b = rows.shape[0]
    shared = rows[:, :SHARED].reshape(b, SHARED * DIM)
    h = F.relu(F.linear(shared, p["experts.0.weight"].flatten(0, 1), p["experts.0.bias"].flatten()))
    parts = zip(h.split(HIDDEN[0], dim=1), p["experts.1.weight"].unbind(), p["experts.1.bias"].unbind())
    e = [F.relu(F.linear(h_k, w, bias)) for h_k, w, bias in parts]
    specific = torch.cat([rows[:, SHARED:].reshape(b, SPECIFIC * DIM), mask @ p["scenario.weight"]], dim=1)
    return e, F.relu(F.linear(specific, p["specific.0.weight"], p["specific.0.bias"]))


def tower(p, made, e, g, mask):
    alpha = torch.softmax(F.linear(g, p["gate.weight"], p["gate.bias"]), dim=1)
    mix = alpha[:, :1] * e[0]
    for k in range(1, EXPERTS):
        mix = torch.addcmul(mix, alpha[:, k : k + 1], e[k])
    h = torch.cat([mix, g], dim=1)
    for l, (cores, shift) in enumerate(made):
        a = h @ p[f"tower.{l}.left"]
        r = a.shape[1]
        # Every scenario's core at once, then the row's own: 3 × 32 columns cost less than gathering or splitting.
        c = ((a @ cores).view(-1, SCENARIOS, r) * mask[:, :, None]).sum(dim=1)
        h = torch.addmm(mask @ shift, c, p[f"tower.{l}.right"])
        if l + 1 < len(TOWER):
            h = F.relu(h)
    return h[:, 0]


def penalty(e):
    """Mean over rows and ordered pairs of the squared cosine of the experts' outputs, e = K × [B, m]."""
    n = [torch.linalg.vector_norm(e_k, dim=1).clamp(min=EPS) for e_k in e]
    total = 0
    for i in range(EXPERTS):
        for j in range(i):
            total = total + ((e[i] * e[j]).sum(dim=1) / (n[i] * n[j])).square().mean()
    return total * 2 / (EXPERTS * (EXPERTS - 1))


def loss_of_rows(p, rows, scenario, label):
    mask = F.one_hot(scenario, SCENARIOS).to(rows.dtype)
    e, g = encode(p, rows, mask)
    logits = tower(p, generate(p), e, g, mask)
    return F.binary_cross_entropy_with_logits(logits, label) + LAMBDA * penalty(e), logits


def logits_of(p, made, ids, scenario):
    mask = F.one_hot(scenario, SCENARIOS).to(torch.float32)
    e, g = encode(p, F.embedding(ids, p["table"]), mask)
    return tower(p, made, e, g, mask)


# --- the work -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def precision(mode):
    """What products are rounded to in a mode."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if mode.endswith("medium") else "highest")
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=mode.endswith("autocast"), cache_enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class Train:
    """One training step a call, on several batches in turn."""

    def __init__(self, size, mode, params, loss=loss_of_rows):
        self.p = {n: v.clone().requires_grad_() for n, v in params.items()}
        self.mode = mode
        self.sparse = mode.endswith("sparse")
        table = self.p["table"]
        dense = [v for v in self.p.values() if not (self.sparse and v is table)]
        self.optimizers = [torch.optim.Adam(dense, lr=1e-3, fused=True)]
        if self.sparse:
            self.optimizers.append(torch.optim.SparseAdam([table], lr=1e-3))
        self.loss = loss if self.sparse else of_ids(loss)
        if mode.startswith("compiled"):
            self.loss = torch.compile(own(self.loss), dynamic=False)
        generator = torch.Generator().manual_seed(7)
        self.batches = [batch(size, ROWS, generator) for _ in range(BATCHES)]
        self.next = 0

    def gradients(self, ids, scenario, label):
        rows = F.embedding(ids, self.p["table"], sparse=True) if self.sparse else ids
        with precision(self.mode):
            loss, logits = self.loss(self.p, rows, scenario, label)
            loss.backward()
        return loss, logits

    def __call__(self):
        ids, scenario, label = self.batches[self.next % BATCHES]
        self.next += 1
        for o in self.optimizers:
            o.zero_grad(set_to_none=True)
        self.gradients(ids, scenario, label)
        for o in self.optimizers:
            o.step()


def of_ids(loss):
    """The loss with the lookup in it."""

    def of(p, ids, scenario, label):
        return loss(p, F.embedding(ids, p["table"]), scenario, label)

    return of


class Forward:
    """One forward pass a call."""

    def __init__(self, size, rows, mode, params=None):
        self.p = params or initial(size)
        self.mode = mode
        with torch.no_grad():
            self.made = generate(self.p)
        generator = torch.Generator().manual_seed(8)
        count = BATCHES if rows > 1 else 64
        self.batches = [batch(size, rows, generator)[:2] for _ in range(count)]
        self.next = 0
        model = Constant(self.p, self.made).eval()
        if mode.startswith("aot"):
            self.run = ahead_of_time(model, self.batches[0])
        elif mode.startswith("compiled"):
            options = {"freezing": mode in ("compiled-frozen", "compiled-tuned"), "max_autotune": mode == "compiled-tuned"}
            self.run = torch.compile(own(model.forward), dynamic=False, options=options)
        else:
            self.run = lambda ids, scenario: logits_of(self.p, self.made, ids, scenario)

    def logits(self, ids, scenario):
        with torch.inference_mode(), precision(self.mode):
            return self.run(ids, scenario)

    def __call__(self):
        out = self.logits(*self.batches[self.next % len(self.batches)])
        self.next += 1
        return out


class Constant(torch.nn.Module):
    """Parameters as buffers, so that the compiler may take them for constants and pack them."""

    def __init__(self, p, made):
        super().__init__()
        self.names = list(p)
        for i, value in enumerate(p.values()):
            self.register_buffer(f"p{i}", value)
        for i, (cores, shift) in enumerate(made):
            self.register_buffer(f"cores{i}", cores)
            self.register_buffer(f"shift{i}", shift)

    def forward(self, ids, scenario):
        p = {name: getattr(self, f"p{i}") for i, name in enumerate(self.names)}
        made = [(getattr(self, f"cores{i}"), getattr(self, f"shift{i}")) for i in range(len(TOWER))]
        return logits_of(p, made, ids, scenario)


def own(function):
    """The function with a code object of its own. What is compiled hangs on it, so a work neither waits for the guards of
    another nor meets the limit of recompilations, past which PyTorch silently stops compiling."""
    inner = getattr(function, "__func__", function)
    code = inner.__code__.replace(co_name=f"{inner.__name__}_{next(COPIES)}")
    copy = types.FunctionType(code, inner.__globals__, code.co_name, inner.__defaults__, inner.__closure__)
    return types.MethodType(copy, function.__self__) if inner is not function else copy


COPIES = itertools.count()


def ahead_of_time(model, example):
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        program = torch.export.export(model, example)
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=f"{folder}/model.pt2", inductor_configs={"max_autotune": True}
        )
        compiled = torch._inductor.aoti_load_package(package)
    # The loader below the callable takes and gives flat lists, and does no more.
    return lambda ids, scenario: compiled.loader.run([ids, scenario])[0]


WORKS = {}


def work(name):
    """The work of a name, built and warmed up on first use."""
    if name not in WORKS:
        kind, size, *rest = name.split("/")
        if kind == "model":
            made = Train("small", rest[0], initial_of(MODELS[size]), MODELS[size].loss)
        elif kind == "train":
            made = Train(size, rest[0], initial(size))
        else:
            made = Forward(size, int(rest[0]), rest[1])
        for _ in range(3):
            made()
        WORKS[name] = made
    return WORKS[name]


# The other models by kind, as they were described.
MODELS = {}


def model(settings, weight):
    """Takes another model in; its fields are those of the standard work."""
    from models_torch import Model

    fields = [{"name": name.split(".")[1], "kind": "categorical"} for name in table_names()]
    MODELS[settings["kind"]] = Model(settings, weight, SCENARIOS, fields)


def initial_of(described):
    """Values that no speed hangs on."""
    p = {"table": torch.randn(shapes("small")["table"][0]) * 0.01}
    return p | {name: torch.rand(shape) * 0.2 - 0.1 for name, shape in described.shapes().items()}


@contextlib.contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    yield
    torch.set_num_threads(before)


def time_work(name, reps):
    with threads(1 if name.endswith("one-thread") else None):
        return timed(work(name), reps)


def timed(call, reps):
    seconds = []
    for _ in range(reps):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def mm(m, n, k, kind, count, reps):
    """Seconds of a product: "xwT" is x [m, k] · w [n, k]ᵀ, "dw" is d_y [k, m]ᵀ · x [k, n] (k rows of a batch)."""
    if kind == "xwT":
        a, b = torch.randn(m, k), torch.randn(n, k).t()
    else:
        a, b = torch.randn(k, m).t(), torch.randn(k, n)
    out = torch.empty(m, n)
    with threads(count):
        return timed(lambda: torch.mm(a, b, out=out), reps)


def table_names():
    """Checkpoint names of the fields' tables, in the order of the ids."""
    return [f"embeddings.{role}{i}.weight" for role, n in (("shared", SHARED), ("specific", SPECIFIC)) for i in range(n)]


def load_case(file, size, names):
    """Parameters of these names, and (ids, scenarios, labels), of a safetensors file."""
    from safetensors.torch import load_file

    t = load_file(file)
    params = {"table": torch.cat([t[n] for n in table_names()])}
    params |= {n: t[n] for n in names if n != "table"}
    vocab = torch.tensor(vocabularies(size))
    ids = t["ids"].long() + (torch.cumsum(vocab, 0) - vocab)
    return params, (ids, t["scenario"].long(), t["label"])


def check(file, size, kind, rows, modes):
    """Logits, loss and gradient norms at the parameters and rows of a safetensors file, by each mode; the forward pass
    takes `rows` of them at a time. Of another model, `size` is its kind."""
    other = MODELS[size] if kind == "model" else None
    size, names, loss_of = ("small", other.shapes(), other.loss) if other else (size, shapes(size), loss_of_rows)
    params, (ids, scenario, label) = load_case(file, size, names)
    answers = {}
    for mode in modes:
        if kind != "forward":
            model = Train(size, mode, params, loss_of)
            loss, logits = model.gradients(ids, scenario, label)
            # Running statistics have none.
            grad = {n: v.grad for n, v in model.p.items() if v.grad is not None}
            grad = {n: g.to_dense() if g.is_sparse else g for n, g in grad.items()}
            parts = grad["table"].split(vocabularies(size))
            norms = {n: float(g.norm()) for n, g in zip(table_names(), parts)}
            norms |= {n: float(g.norm()) for n, g in grad.items() if n != "table"}
            answers[mode] = {"logits": logits.tolist(), "loss": float(loss.detach()), "gradients": norms}
        else:
            with threads(1 if mode.endswith("one-thread") else None):
                model = Forward(size, rows, mode, params)
                pieces = zip(ids.split(rows), scenario.split(rows))
                logits = torch.cat([model.logits(*piece).clone() for piece in pieces])
            answers[mode] = {"logits": logits.tolist()}
    return answers


def info():
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "MKL_", "KMP_", "GOMP_", "ONEDNN_"))},
        "train": TRAIN_MODES,
        "model": MODEL_MODES,
        "bf16": BF16_MODES,
        "forward": FORWARD_MODES,
        "stock": STOCK_MODES,
    }


def keep_memory():
    """glibc: hold freed memory instead of giving it back after every step; what a preloaded allocator would do."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)
        libc.mallopt(m_arena_max, 1)  # the backward pass runs on a thread of its own
    except OSError:
        pass  # another C library: its allocator stays as it is


def quick():
    print(info())
    for size in ("small", "large"):
        for mode in TRAIN_MODES:
            s = timed(work(f"train/{size}/{mode}"), 15)
            print(f"train/{size}/{mode}: {ROWS / statistics.median(s):.0f} rows/s, best {ROWS / min(s):.0f}", flush=True)
        for rows, modes in FORWARD_MODES.items():
            for mode in modes:
                s = time_work(f"forward/{size}/{rows}/{mode}", 30 if rows == 4096 else 300)
                print(f"forward/{size}/{rows}/{mode}: {statistics.median(s) * 1e3:.3f} ms, {rows / statistics.median(s):.0f} rows/s", flush=True)


def serve(commands):
    """Answers the commands of stdin."""
    # The protocol keeps stdout for itself; what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("cmd")
        try:
            answer = {"ok": commands[name](**command)}
        except Exception as e:  # the other side decides what follows
            answer = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), file=answers, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, help="torch's own choice when not given")
    parser.add_argument("--stock", action="store_true", help="leave the C library's allocator as it comes")
    parser.add_argument("--quick", action="store_true", help="print rates instead of serving")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._inductor.select_algorithm.PRINT_AUTOTUNE = False
    if not STOCK:
        keep_memory()
    commands = {"info": info, "time": lambda work, reps: time_work(work, reps), "mm": mm, "check": check, "model": model}
    quick() if arguments.quick else serve(commands)


if __name__ == "__main__":
    main()
