"""One outside engine with one net loaded, for compare.py: reads requests, a JSON object a line, and answers each with one.

Usage: worker.py onnxruntime|openvino|rten|ncnn|mnn|litert NET THREADS split|side PLANESxHxW

split: one slice at a time, all threads on it. side: as many slices at a time as threads, each on one.

Requests: {"slices": N} runs N slices on each side and answers {"seconds": [of each], "wall": seconds};
{"input": FILE.npy, "output": FILE.npy} runs each slice of an array and writes the probabilities.
"""

import ctypes
import json
import os
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


def rten_runners(net, threads, sides):
    """As above, by the library that RTEN_BESIDE names."""
    library = ctypes.CDLL(os.environ["RTEN_BESIDE"])
    library.beside_open.restype = ctypes.c_void_p
    library.beside_open.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    library.beside_run.restype = ctypes.c_bool
    library.beside_run.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_size_t]

    def runner():
        opened = library.beside_open(net.encode(), threads // sides)
        if not opened:
            raise ValueError(f"rten cannot load {net}")

        def run(x):
            x = numpy.ascontiguousarray(x, numpy.float32)
            shape, out = numpy.array(x.shape, numpy.uintp), numpy.empty_like(x)
            pointers = (array.ctypes.data for array in (shape, x, out))
            if not library.beside_run(opened, *pointers, out.size):
                raise ValueError(f"rten cannot run {net}")
            return out

        return run

    return [runner() for _ in range(sides)]


def ncnn_runners(net, threads, sides):
    import ncnn

    def runner():
        loaded = ncnn.Net()
        loaded.opt.num_threads = threads // sides
        if loaded.load_param(net) or loaded.load_model(net.replace(".param", ".bin")):
            raise ValueError(f"ncnn cannot load {net}")

        def run(x):
            with loaded.create_extractor() as extractor:
                extractor.input("in0", ncnn.Mat(x[0]))
                return numpy.array(extractor.extract("out0")[1])[None]

        return run

    return [runner() for _ in range(sides)]


def mnn_runners(net, threads, sides):
    """By sessions: MNN's newer modules hold Python's lock while they compute, so that sides would wait for one another."""
    import MNN

    def tensor(values):
        return MNN.Tensor(values.shape, MNN.Halide_Type_Float, values, MNN.Tensor_DimensionType_Caffe)

    def runner():
        interpreter = MNN.Interpreter(net)
        session = interpreter.createSession({"backend": "CPU", "numThread": threads // sides, "precision": "high"})
        entry = interpreter.getSessionInput(session)

        def run(x):
            out = tensor(numpy.empty_like(x))
            entry.copyFrom(tensor(numpy.ascontiguousarray(x, numpy.float32)))
            interpreter.runSession(session)
            interpreter.getSessionOutput(session).copyToHostTensor(out)
            return numpy.array(out.getNumpyData()).reshape(x.shape)

        return run

    return [runner() for _ in range(sides)]


def litert_runners(net, threads, sides):
    """XNNPACK, which LiteRT gives every layer that it knows; slices in their own layout, as one plane is the same in both."""
    from ai_edge_litert.interpreter import Interpreter

    def runner():
        interpreter = Interpreter(net, num_threads=threads // sides)
        interpreter.allocate_tensors()
        entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

        def run(x):
            interpreter.set_tensor(entry["index"], x.reshape(entry["shape"]))
            interpreter.invoke()
            return interpreter.get_tensor(end["index"]).reshape(x.shape)

        return run

    return [runner() for _ in range(sides)]


RUNNERS = {
    "onnxruntime": onnxruntime_runners,
    "rten": rten_runners,
    "ncnn": ncnn_runners,
    "mnn": mnn_runners,
    "litert": litert_runners,
}


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
    # Answers alone go to standard output: some libraries print there, too.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine, net, threads, way, size = sys.argv[1:]
    threads, size = int(threads), [int(side) for side in size.split("x")]
    sides = threads if way == "side" else 1
    if engine == "openvino":
        runners = openvino_runners(net, threads, sides, size)
    else:
        runners = RUNNERS[engine](net, threads, sides)
    x = blobs(size)
    measure(runners, x, WARM_UP)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "slices" in request:
            answer = measure(runners, x, request["slices"])
        else:
            slices = numpy.load(request["input"])
            numpy.save(request["output"], numpy.concatenate([numpy.array(runners[0](s[None])) for s in slices]))
            answer = {}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
