"""One outside engine with one net loaded, for compare.py: reads requests, a JSON object a line, and answers each with one.

Usage: worker.py onnxruntime|openvino NET.onnx THREADS split|side HxW

split: one slice at a time, all threads on it. side: as many slices at a time as threads, each on one.

Requests: {"slices": N} runs N slices on each side and answers {"seconds": [of each], "wall": seconds};
{"input": FILE.npy, "output": FILE.npy} runs each slice of an array and writes the probabilities.
"""

import json
import sys
import threading
import time

import numpy

WARM_UP = 3


def onnxruntime_runners(net, threads, sides):
    """A function for each side that turns an input into probabilities."""
    import onnxruntime

    def runner():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads // sides
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(net, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x})[0]

    return [runner() for _ in range(sides)]


def openvino_runners(net, threads, sides, size):
    """As above; one compiled net, whose streams serve the sides."""
    import openvino

    core = openvino.Core()
    model = core.read_model(net)
    model.reshape([1, *size])
    hint = "LATENCY" if sides == 1 else "THROUGHPUT"
    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": sides}
    # Pinned threads suffer from whatever else runs on their core; the other engines do not pin theirs.
    settings["ENABLE_CPU_PINNING"] = False
    compiled = core.compile_model(model, "CPU", settings)

    def runner():
        request = compiled.create_infer_request()
        return lambda x: request.infer({0: x})[0]

    return [runner() for _ in range(sides)]


def blobs(size):
    """The slice that `monet profile` measures with, the same in all planes."""
    planes, *sides = size
    y, x = numpy.mgrid[: sides[0], : sides[1]].astype(numpy.float32)
    value = 0.5 + 0.4 * numpy.sin(y * 0.11) * numpy.cos(x * 0.07 + 1) + 0.1 * numpy.sin(x * 0.9)
    return numpy.clip(value, 0, 1).astype(numpy.float32)[None, None].repeat(planes, 1)


def measure(runners, x, slices):
    seconds = [[] for _ in runners]

    def side(i):
        for _ in range(slices):
            start = time.perf_counter()
            runners[i](x)
            seconds[i].append(time.perf_counter() - start)

    start = time.perf_counter()
    if len(runners) == 1:
        side(0)
    else:
        threads = [threading.Thread(target=side, args=[i]) for i in range(len(runners))]
        [t.start() for t in threads]
        [t.join() for t in threads]
    return {"seconds": sum(seconds, []), "wall": time.perf_counter() - start}


def main():
    engine, net, threads, way, size = sys.argv[1:]
    threads, size = int(threads), [int(side) for side in size.split("x")]
    sides = threads if way == "side" else 1
    if engine == "onnxruntime":
        runners = onnxruntime_runners(net, threads, sides)
    else:
        runners = openvino_runners(net, threads, sides, size)
    x = blobs(size)
    measure(runners, x, WARM_UP)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "slices" in request:
            answer = measure(runners, x, request["slices"])
        else:
            slices = numpy.load(request["input"])
            numpy.save(request["output"], numpy.concatenate([numpy.array(runners[0](s[None])) for s in slices]))
            answer = {}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
