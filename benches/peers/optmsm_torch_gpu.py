"""The standard work of this repository's benchmarks, written in PyTorch for a GPU. The model is that of optmsm_torch.py.

The peer of `gpu measure`, which starts it and alternates with it: one JSON command a line on stdin, one JSON answer a line on stdout.

    {"cmd": "info"}                                                  versions, the device, the modes
    {"cmd": "time", "work": "train/small/4096/eager", "reps": 50}    seconds of each step, by CUDA events
    {"cmd": "time", "work": "forward/small/512/eager", "reps": 50}   seconds of each prediction, until it is on the host
    {"cmd": "copy", "bytes": 1073741824}                             bytes read and written a second
    {"cmd": "square", "precision": "tf32"}                           FLOP a second of a large product
    {"cmd": "product", "rows": 4096, "inputs": 256, "outputs": 768, "groups": 1, "grouping": "one", "kind": "dw",
     "precision": "bf16"}                                            seconds of a layer's product
    {"cmd": "check", "file": "case.safetensors", "size": "small", "kind": "train", "mode": "eager"}

Modes of training, all with fused Adam (SparseAdam on the tables in `-sparse`, which `torch.compile` does not take): eager in f32, and with tf32
products eager, compiled, and compiled into CUDA graphs (`reduce-overhead`). A batch comes from pinned memory in every step, as on the other side.

`python optmsm_torch_gpu.py --quick` runs everything once, small, and prints it; with `--device cpu` what a CPU can do.
"""

import argparse
import platform
import statistics
import time

import torch
import torch._dynamo
import torch.nn.functional as F

from optmsm_torch import (
    Constant,
    batch,
    generate,
    initial,
    load_case,
    loss_of_ids,
    loss_of_rows,
    own,
    serve,
)

BATCHES = 8
# Larger than a device's L2: operands of timed products take turns over as many bytes.
BEYOND_CACHE = 256 << 20
TRAIN_MODES = ("eager-f32", "eager", "eager-sparse", "compiled", "reduce-overhead")
FORWARD_MODES = ("eager-f32", "eager", "compiled", "reduce-overhead")
DTYPES = {"f32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
DEVICE = "cuda"


def on_gpu():
    return DEVICE == "cuda"


def synchronize():
    if on_gpu():
        torch.cuda.synchronize()


def set_tf32(on):
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def precision_of(mode):
    return "f32" if mode.endswith("f32") else "tf32"


def pinned(tensors):
    return [t.pin_memory() if on_gpu() else t for t in tensors]


def to_device(tensors):
    return [t.to(DEVICE, non_blocking=True) for t in tensors]


def compiled(function, mode):
    if mode == "compiled":
        return torch.compile(own(function), dynamic=False)
    if mode == "reduce-overhead":
        return torch.compile(own(function), dynamic=False, mode="reduce-overhead")
    return function


class Train:
    """One training step a call, on several batches in turn."""

    def __init__(self, size, rows, mode, params=None):
        self.mode = mode
        self.p = {n: v.to(DEVICE).clone().requires_grad_() for n, v in (params or initial(size)).items()}
        self.sparse = mode.endswith("sparse")
        table = self.p["table"]
        dense = [v for v in self.p.values() if not (self.sparse and v is table)]
        self.optimizers = [torch.optim.Adam(dense, lr=1e-3, fused=True)]
        if self.sparse:
            self.optimizers.append(torch.optim.SparseAdam([table], lr=1e-3))
        self.loss = compiled(loss_of_rows if self.sparse else loss_of_ids, mode)
        generator = torch.Generator().manual_seed(7)
        self.batches = [pinned(batch(size, rows, generator)) for _ in range(BATCHES)]
        self.next = 0

    def gradients(self, ids, scenario, label):
        rows = F.embedding(ids, self.p["table"], sparse=True) if self.sparse else ids
        loss, logits = self.loss(self.p, rows, scenario, label)
        loss.backward()
        return loss, logits

    def __call__(self):
        set_tf32(precision_of(self.mode) == "tf32")
        if self.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        ids, scenario, label = to_device(self.batches[self.next % BATCHES])
        self.next += 1
        for o in self.optimizers:
            o.zero_grad(set_to_none=True)
        self.gradients(ids, scenario, label)
        for o in self.optimizers:
            o.step()


class Forward:
    """One prediction a call, from the host's memory to the host's memory."""

    def __init__(self, size, rows, mode, params=None):
        self.mode = mode
        set_tf32(precision_of(mode) == "tf32")
        p = {n: v.to(DEVICE) for n, v in (params or initial(size)).items()}
        with torch.no_grad():
            made = generate(p)
        model = Constant(p, made).eval()
        self.run = compiled(model.forward, mode)
        generator = torch.Generator().manual_seed(8)
        self.batches = [pinned(batch(size, rows, generator)[:2]) for _ in range(BATCHES if rows > 1 else 64)]
        self.next = 0

    def logits(self, ids, scenario):
        set_tf32(precision_of(self.mode) == "tf32")
        with torch.inference_mode():
            return self.run(ids, scenario)

    def __call__(self):
        ids, scenario = to_device(self.batches[self.next % len(self.batches)])
        self.next += 1
        return torch.sigmoid(self.logits(ids, scenario)).cpu()


WORKS = {}


def work(name):
    """The work of a name, built and warmed up on first use; the work before it on the same rows stays for the next turn."""
    if name not in WORKS:
        kind, size, rows, mode = name.split("/")
        # Another work than the last one: its memory is wanted back.
        for other in [o for o in WORKS if o.rsplit("/", 1)[0] != name.rsplit("/", 1)[0]]:
            del WORKS[other]
        made = Train(size, int(rows), mode) if kind == "train" else Forward(size, int(rows), mode)
        for _ in range(5):
            made()
        synchronize()
        WORKS[name] = made
    return WORKS[name]


def time_work(name, reps):
    made = work(name)
    if name.startswith("forward") or not on_gpu():
        return [wall(made) for _ in range(reps)]
    return timed(made, reps)


def wall(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def timed(call, reps, groups=5):
    """Seconds of a call, in `groups` of calls that are queued one after the other."""
    each = max(1, reps // groups)
    seconds = []
    for _ in range(groups):
        if on_gpu():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(each):
                call()
            end.record()
            torch.cuda.synchronize()
            seconds.append(begin.elapsed_time(end) / 1e3 / each)
        else:
            seconds.append(sum(wall(call) for _ in range(each)) / each)
    return seconds


def graphed(calls):
    """Many small calls without the cost of launching them: one CUDA graph. Seconds of one, the median of several graphs' runs."""
    if not on_gpu():
        return statistics.median(wall(call) for call in calls)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls[:3]:
            call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in calls:
            call()
    for _ in range(2):
        graph.replay()
    return statistics.median(timed(graph.replay, 9, groups=9)) / len(calls)


def copy(bytes):
    a, b = (torch.zeros(bytes // 4, device=DEVICE) for _ in range(2))
    return 2 * bytes / statistics.median(timed(lambda: b.copy_(a), 18, groups=9))


def square(precision, n=8192):
    set_tf32(precision == "tf32")
    a, b = (torch.randn(n, n, device=DEVICE, dtype=DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / statistics.median(timed(lambda: torch.mm(a, b, out=out), 20))


def product(rows, inputs, outputs, groups, grouping, kind, precision):
    """Seconds of y = x Wᵀ ("forward"), ∂x = ∂y W ("dx") or ∂W = ∂yᵀ x ("dw"). Groups: `columns` of x and y have a weight each,
    or `rows` do. The outputs of bf16 are bf16: cuBLAS writes half of what we write."""
    set_tf32(precision == "tf32")
    dtype = DTYPES[precision]
    wide = groups if grouping == "columns" else 1
    bytes = dtype.itemsize * (rows * wide * (inputs + outputs) + groups * inputs * outputs)
    count = max(2, min(64, BEYOND_CACHE // bytes)) if on_gpu() else 2
    new = lambda *shape: torch.randn(shape, device=DEVICE, dtype=dtype)
    calls = []
    for _ in range(count):
        x, y, w = new(rows, wide * inputs), new(rows, wide * outputs), new(groups, outputs, inputs)
        if grouping == "columns":
            # One strided view a group, [G, rows, columns].
            x, y = (t.view(rows, groups, -1).transpose(0, 1) for t in (x, y))
            pieces = [(x, y, w)]
        else:
            cuts = [g * rows // groups for g in range(groups + 1)]
            pieces = [(x[a:b], y[a:b], w[g]) for g, (a, b) in enumerate(zip(cuts, cuts[1:]))]
        for x, y, w in pieces:
            mm = torch.bmm if x.dim() == 3 else torch.mm
            a, b, out = {
                "forward": (x, w.transpose(-1, -2), y),
                "dx": (y, w, x),
                "dw": (y.transpose(-1, -2), x, w),
            }[kind]
            calls.append(lambda mm=mm, a=a, b=b, out=out: mm(a, b, out=out))
    per_product = len(calls) // count
    return graphed(calls) * per_product


def check(file, size, kind, mode):
    """Logits (and loss) at the parameters and rows of a safetensors file."""
    params, rows = load_case(file, size)
    ids, scenario, label = to_device(rows)
    answer = {"precision": precision_of(mode)}
    set_tf32(precision_of(mode) == "tf32")
    if kind == "train":
        loss, logits = Train(size, 1, mode, params).gradients(ids, scenario, label)
        answer["loss"] = float(loss.detach())
    else:
        logits = Forward(size, 1, mode, params).logits(ids, scenario)
    answer["logits"] = logits.detach().float().cpu().tolist()
    return answer


def info():
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cuda": torch.version.cuda or "none",
        "device": torch.cuda.get_device_name() if on_gpu() else "cpu",
        "train": TRAIN_MODES,
        "forward": FORWARD_MODES,
    }


def quick():
    """Everything once, small."""
    print(info())
    print("copy", copy(1 << 22))
    for precision in DTYPES:
        print("square", precision, square(precision, 256))
        for grouping, groups in (("one", 1), ("columns", 3), ("rows", 3)):
            for kind in ("forward", "dx", "dw"):
                print(grouping, kind, precision, product(64, 32, 16, groups, grouping, kind, precision))
    for mode in TRAIN_MODES:
        print("train", mode, time_work(f"train/small/64/{mode}", 5), flush=True)
    for rows in (1, 64):
        for mode in FORWARD_MODES:
            print("forward", rows, mode, time_work(f"forward/small/{rows}/{mode}", 5), flush=True)


def main():
    global DEVICE
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="run everything once, small, instead of serving")
    # optmsm_torch.py reads it before this does.
    parser.add_argument("--stock", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    DEVICE = arguments.device
    torch.manual_seed(1)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    commands = {
        "info": info,
        "time": lambda work, reps: time_work(work, reps),
        "copy": copy,
        "square": square,
        "product": product,
        "check": check,
    }
    quick() if arguments.quick else serve(commands)


if __name__ == "__main__":
    main()
