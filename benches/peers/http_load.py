"""Requests over HTTP: `optmsm serve` and onnx_server.py under the same load, in turn, as a table.

    python http_load.py --optmsm target/release/optmsm --work work

`work` has a trained `run` of the bin `standard_data` of the benches, and its export `raw.onnx`. `wrk` makes the load: a number of connections, each of which sends its next request when it has an
answer. Before anything is timed, both must give the same probabilities.

Needs `wrk`, and what onnx_server.py needs.
"""

import argparse
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

BODIES = 16  # different requests, in turn
LUA = """
local bodies = {}
for i = 1, %d do
  local file = io.open("%s/" .. i .. ".json")
  bodies[i] = file:read("*a")
  file:close()
end
local next = 0
request = function()
  next = next %% #bodies + 1
  return wrk.format("POST", "/predict", {["Content-Type"] = "application/json"}, bodies[next])
end
"""


def columns(onnx):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    return [i.name for i in session.get_inputs() if i.name != "scenario"]


def requests(names, items, chosen):
    """Half of the shared fields are the candidates'; ids are as those of the standard work, ⌊u³ · rows⌋."""
    shared = [name for name in names if name.startswith("shared")]
    of_items = shared[len(shared) // 2:]
    draw = lambda name: str(int(chosen.random() ** 3 * (1000 if name in shared else 50)))
    for _ in range(BODIES):
        user = {name: draw(name) for name in names if name not in of_items}
        yield {
            "scenario": str(chosen.randrange(3)),
            "user": user,
            "items": [{name: draw(name) for name in of_items} for _ in range(items)],
        }


def post(port, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["probabilities"]


def wait(port, path):
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}").read()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"no server on port {port}")


def load(port, script, connections, seconds):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), f"http://127.0.0.1:{port}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(out)
    unit = {"us": 1.0, "ms": 1e3, "s": 1e6}
    found = {k: float(v) * unit[u] for k, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", out)}
    return found["50"], found["99"], float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--optmsm", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    work, threads = arguments.work, str(arguments.threads)
    here = pathlib.Path(__file__).parent
    ours = [arguments.optmsm, "serve", str(work / "run"), "--port", "8090", "--threads", threads, "--fold", "256"]
    peer = [sys.executable, str(here / "onnx_server.py"), "--onnx", str(work / "raw.onnx"), "--port", "8091", "--threads", threads]
    sides = {"optmsm serve": (8090, subprocess.Popen(ours)), "ONNX Runtime, uvicorn": (8091, subprocess.Popen(peer))}
    try:
        wait(8090, "/v2/health/ready")
        wait(8091, "/")
        names = columns(work / "raw.onnx")
        print("| candidates | connections | server | p50, ms | p99, ms | requests/s |\n|---:|---:|---|---:|---:|---:|")
        for items in (1, 50, 500):
            bodies = list(requests(names, items, random.Random(items)))
            answers = post(8090, bodies[0]), post(8091, bodies[0])
            apart = max(abs(a - b) for a, b in zip(*answers))
            if apart > 1e-5:
                sys.exit(f"probabilities differ by {apart}")
            for connections in (1, 8):
                measured = {side: [] for side in sides}
                for _ in range(arguments.turns):
                    for side, (port, _) in sides.items():
                        with tempfile.TemporaryDirectory() as folder:
                            for i, body in enumerate(bodies, start=1):
                                (pathlib.Path(folder) / f"{i}.json").write_text(json.dumps(body))
                            script = pathlib.Path(folder) / "post.lua"
                            script.write_text(LUA % (BODIES, folder))
                            measured[side].append(load(port, script, connections, arguments.seconds))
                for side, turns in measured.items():
                    p50, p99, rate = (statistics.median(values) for values in zip(*turns))
                    print(f"| {items} | {connections} | {side} | {p50 / 1e3:.2f} | {p99 / 1e3:.2f} | {rate:.0f} |", flush=True)
    finally:
        for _, process in sides.values():
            process.terminate()
        for _, process in sides.values():
            process.wait()


if __name__ == "__main__":
    main()
