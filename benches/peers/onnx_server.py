"""A minimal server of an ONNX file that `optmsm export` wrote of categorical fields: what a team writes around ONNX Runtime. `POST /predict` takes a request of one user and many candidates,

    {"scenario": "0", "user": {"shared0": "3", …}, "items": [{"shared8": "5", …}, …]}

and answers `{"probabilities": […]}`. uvicorn with its C parser and event loop, orjson, one session for all requests.

    python onnx_server.py --onnx model.onnx --port 8081 --threads 2

Needs `onnxruntime`, `uvicorn[standard]` and `orjson`.
"""

import argparse

import numpy as np
import onnxruntime
import orjson
import uvicorn


def application(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]

    def answer(body):
        request = orjson.loads(body)
        user, items = request["user"], request["items"]
        count = len(items)
        feed = {}
        for name in names:
            column = np.empty(count, dtype=object)
            if name == "scenario":
                column[:] = request["scenario"]
            elif name in user:
                column[:] = user[name]
            else:
                column[:] = [item[name] for item in items]
            feed[name] = column
        probabilities = session.run(["probability"], feed)[0]
        return orjson.dumps({"probabilities": probabilities}, option=orjson.OPT_SERIALIZE_NUMPY)

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        out = answer(body) if scope["method"] == "POST" else b"{}"
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(out)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": out})

    return app


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(application(arguments.onnx, arguments.threads), port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
