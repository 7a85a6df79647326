"""A run that `optmsm export` wrote, in ONNX Runtime and in PyTorch, as a child process: one JSON command and answer per line.

    {"cmd": "info"}
    {"cmd": "rows", "batches": [{"scenario": [0, …], "fields": {"user": [7, …], …}}, …]}   the batches of the commands that follow
    {"cmd": "answer", "mode": "onnxruntime"}   probabilities of the first batch
    {"cmd": "time", "mode": "torch-aot", "seconds": 0.3}   seconds of each call, on the batches in turn

Needs `onnxruntime`, `torch` and `safetensors`, and a C++ compiler for what PyTorch compiles ahead of time.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time

import numpy as np
import onnxruntime
import torch
import torch._inductor.select_algorithm

MODES = ("onnxruntime", "onnxruntime-one-thread", "torch-eager", "torch-aot")


class Onnx:
    """The ONNX file, which takes ids."""

    def __init__(self, path, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i.type for i in self.session.get_inputs()}

    def feed(self, batch):
        given = {"scenario": batch["scenario"], **batch["fields"]}
        return {name: np.array(given[name], dtype=np.int64) for name in self.inputs}

    def __call__(self, feed):
        return self.session.run(["probability"], feed)[0]


class Torch:
    """The exported module, eager or compiled ahead of time for the rows at hand."""

    def __init__(self, module, compiled):
        self.module, self.compiled, self.made = module, compiled, {}

    def feed(self, batch):
        tensor = lambda values: torch.tensor(values, dtype=torch.int64)
        return tensor(batch["scenario"]), {name: tensor(ids) for name, ids in batch["fields"].items()}

    def __call__(self, feed):
        run = self.module
        if self.compiled:
            rows = len(feed[0])
            if rows not in self.made:
                self.made[rows] = ahead_of_time(self.module, feed)
            run = self.made[rows]
        with torch.inference_mode():
            return run(*feed)


def ahead_of_time(module, example):
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        program = torch.export.export(module, example)
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=f"{folder}/model.pt2", inductor_configs={"max_autotune": True}
        )
        compiled = torch._inductor.aoti_load_package(package)
    # The loader below the callable takes and gives flat lists, and does no more.
    return lambda scenario, fields: compiled.loader.run([scenario, *fields.values()])[0]


def load_module(folder):
    spec = importlib.util.spec_from_file_location("exported", os.path.join(folder, "model.py"))
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    return exported.load(folder).eval()


class Commands:
    def __init__(self, arguments):
        module = load_module(arguments.torch)
        self.sides = {
            "onnxruntime": Onnx(arguments.onnx, arguments.threads),
            "onnxruntime-one-thread": Onnx(arguments.onnx, 1),
            "torch-eager": Torch(module, False),
            "torch-aot": Torch(module, True),
        }
        self.batches, self.feeds = [], {}

    def info(self):
        versions = {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__, "python": platform.python_version()}
        return {**versions, "threads": torch.get_num_threads(), "modes": MODES}

    def rows(self, batches):
        self.batches, self.feeds = batches, {}

    def fed(self, mode):
        if mode not in self.feeds:
            self.feeds[mode] = [self.sides[mode].feed(batch) for batch in self.batches]
        return self.feeds[mode]

    def answer(self, mode):
        return [float(p) for p in self.sides[mode](self.fed(mode)[0])]

    def time(self, mode, seconds):
        side, feeds = self.sides[mode], self.fed(mode)
        one = statistics.median(once(side, feed) for feed in feeds[:3])
        count = min(max(int(seconds / max(one, 1e-7)), 3), 5000)
        return [once(side, feeds[i % len(feeds)]) for i in range(count)]


def once(side, feed):
    start = time.perf_counter()
    side(feed)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--torch", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch._inductor.select_algorithm.PRINT_AUTOTUNE = False
    # The protocol keeps stdout for itself; what libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    commands = Commands(arguments)
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("cmd")
        try:
            answer = {"ok": getattr(commands, name)(**command)}
        except Exception as e:  # the other side decides what follows
            answer = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
