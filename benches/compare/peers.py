"""Nets in the peers' own formats, made of the float ONNX file once: ncnn, MNN and LiteRT read no ONNX, and rten needs a library.

What each peer can do with the bench net, at the versions of requirements.txt and rten/Cargo.toml, stands in NOTES.
"""

import importlib.util
import json
import pathlib
import shutil
import struct
import subprocess
import sys

import numpy

import nets

NOTES = [
    "rten reads ONNX. Of our QDQ file it computes each layer in f32. Its int8 instructions serve `ConvInteger` alone; on a file of "
    "ONNX Runtime's `quantize_dynamic` rten 0.27.0 gives labels at chance (51 % equal, ONNX Runtime 97 % of the same file), so that it is "
    "not timed.",
    "ncnn: pnnx converts. No wheel or package has ncnn2int8, so that peers.py writes what it writes: weights per output channel, "
    "inputs by their largest magnitude on 16 slices. ncnn has int8 convolutions; transposed ones, ELU and sums stay f32.",
    "MNN: its own converter and quantizer, method EMA on 16 slices (with KL the quantizer 3.6.1 crashes on this net).",
    "XNNPACK is what LiteRT computes with. peers.py writes the float `.tflite`, AI Edge Quantizer makes it int8 on 16 slices. The "
    "quantizer does not know ELU and leaves it f32 between int8 layers; in a second file peers.py makes ELU int8, too.",
]


SLOW = {("mnn", "int8, its own quantizer")}
"""What takes minutes to make."""


def made(net, size, cache, short):
    """Files of each peer, {(engine, net's name): path}, made where they are not in the folder `cache` yet; `short`: but for slow ones."""
    cache.mkdir(parents=True, exist_ok=True)
    files = {
        ("ncnn", "f32"): (ncnn_float, cache / "f32.ncnn.param", net),
        ("ncnn", "int8, as ncnn2int8 does"): (ncnn_int8, cache / "int8.ncnn.param", cache / "f32.ncnn.param"),
        ("mnn", "f32"): (mnn_float, cache / "f32.mnn", net),
        ("mnn", "int8, its own quantizer"): (mnn_int8, cache / "int8.mnn", cache / "f32.mnn"),
        ("litert", "f32"): (tflite_float, cache / "f32.tflite", net),
        ("litert", "int8, its own quantizer"): (tflite_int8, cache / "int8.tflite", cache / "f32.tflite"),
        ("litert", "int8, its own quantizer, ELU too"): (tflite_int8_elu, cache / "elu.tflite", cache / "int8.tflite"),
    }
    files = {key: file for key, file in files.items() if not (short and key in SLOW)}
    for make, path, source in files.values():
        done = path.with_suffix(path.suffix + ".done")
        if not done.exists():
            print(f"making {path}", file=sys.stderr)
            make(source, path, size)
            done.touch()
    return {key: path for key, (_, path, _) in files.items()}


def rten_library(cache):
    """rten behind a C interface, built from rten/; none without cargo."""
    if shutil.which("cargo") is None:
        return None
    command = ["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", cache]
    subprocess.run(command, cwd=pathlib.Path(__file__).with_name("rten"), check=True)
    names = {"darwin": "librten_beside.dylib", "win32": "rten_beside.dll"}
    return cache / "release" / names.get(sys.platform, "librten_beside.so")


def fixed(net, path, size):
    """The net for one slice of this size: some converters need all shapes."""
    import onnx

    model = onnx.load(net)
    for value in [*model.graph.input, *model.graph.output]:
        for dimension, length in zip(value.type.tensor_type.shape.dim, [1, 1, *size]):
            dimension.dim_value = length
    onnx.save(model, path)
    return path


def ncnn_float(net, path, size):
    # The program stands beside a Python module that nobody can import without torch.
    program = pathlib.Path(importlib.util.find_spec("pnnx").origin).with_name("pnnx")
    source = fixed(net, path.with_name("for-pnnx.onnx"), size)
    shape = f"inputshape=[1,1,{size[0]},{size[1]}]"
    command = [program, source, shape, "fp16=0", f"ncnnparam={path}", f"ncnnbin={path.with_suffix('.bin')}"]
    subprocess.run(command, cwd=path.parent, check=True, stdout=subprocess.DEVNULL)


def ncnn_int8(source, path, size):
    """Convolutions in the form that ncnn2int8 gives them: a mark, int8 weights in whole words, biases, scales of both sides."""
    raw, at, out = source.with_suffix(".bin").read_bytes(), 0, b""
    head, layers = source.read_text().splitlines()[:2], []
    for line in source.read_text().splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        settings = dict(field.split("=") for field in rest[int(inputs) + int(outputs) :])
        layers.append((line, kind, rest[0], settings))
    largest = ncnn_largest(source, {entry for _, kind, entry, _ in layers if kind == "Convolution"}, size)
    lines = []
    for line, kind, entry, settings in layers:
        if kind in ("Convolution", "Deconvolution"):
            count, channels = int(settings["6"]), int(settings["0"])
            end = at + 4 + 4 * (count + channels)
            if raw[at : at + 4] != bytes(4):
                raise ValueError(f"weights of {line.split()[1]} are no f32, expected mark 0")
            if kind == "Convolution":
                weights = numpy.frombuffer(raw, numpy.float32, count, at + 4).reshape(channels, -1)
                scales = (127 / numpy.abs(weights).max(1)).astype(numpy.float32)
                integers = numpy.rint(weights * scales[:, None]).astype(numpy.int8).tobytes()
                out += struct.pack("<I", 0x000D4B38) + integers + bytes(-count % 4) + raw[end - 4 * channels : end]
                out += scales.tobytes() + struct.pack("<f", 127 / largest[entry])
                line += " 8=2"
            else:
                out += raw[at:end]
            at = end
        lines.append(line)
    if at != len(raw):
        raise ValueError(f"{len(raw) - at} bytes of weights are left over, expected none")
    path.with_suffix(".bin").write_bytes(out)
    path.write_text("\n".join([*head, *lines]) + "\n")


def ncnn_largest(source, blobs, size):
    """Largest magnitude of each blob."""
    import ncnn

    net = ncnn.Net()
    net.load_param(str(source))
    net.load_model(str(source.with_suffix(".bin")))
    largest = dict.fromkeys(blobs, 0.0)
    for image in nets.calibration(size):
        with net.create_extractor() as extractor:
            extractor.set_light_mode(False)
            extractor.input("in0", ncnn.Mat(image))
            for blob in blobs:
                found = numpy.array(extractor.extract(blob)[1])
                largest[blob] = max(largest[blob], float(numpy.abs(found).max()))
    return largest


def mnn_tool(tool, *arguments):
    """MNN's converter or quantizer, in a process of its own. `MNN.tools` around them installs a client by pip and reports each
    use to its maker; the module beneath does neither."""
    call = f"import sys, _tools; _tools.{tool}(sys.argv)"
    subprocess.run([sys.executable, "-c", call, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def mnn_float(net, path, size):
    source = fixed(net, path.with_name("for-mnn.onnx"), size)
    mnn_tool("mnnconvert", "-f", "ONNX", "--modelFile", source, "--MNNModel", path, "--bizCode", "bench")


def mnn_int8(source, path, size):
    slices = path.with_name("mnn-slices")
    for i, image in enumerate(nets.calibration(size)):
        folder = slices / f"input_{i}"
        folder.mkdir(parents=True, exist_ok=True)
        numpy.savetxt(folder / "image.txt", image.ravel(), fmt="%.6f")
        names = {"inputs": [{"name": "image", "shape": [1, 1, *size]}], "outputs": ["probabilities"]}
        (folder / "input.json").write_text(json.dumps(names))
    settings = {"format": "GRAY", "path": str(slices), "input_type": "sequence", "used_sample_num": i + 1, "batch_size": 1}
    settings |= {"feature_quantize_method": "EMA", "weight_quantize_method": "MAX_ABS", "quant_bits": 8}
    path.with_suffix(".json").write_text(json.dumps(settings))
    mnn_tool("mnnquant", source, path, path.with_suffix(".json"))


class Tflite:
    """A `.tflite` that grows by tensors and operators; layout is N, H, W, C."""

    def __init__(self):
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.model, self.graph = schema, schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.subgraphs, self.model.buffers = 3, [self.graph], [schema.BufferT()]
        self.model.operatorCodes, self.graph.tensors, self.graph.operators = [], [], []
        self.at, self.codes = {}, {}

    def tensor(self, name, shape, data=None):
        """Index of a new tensor; with data, a constant."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), [int(n) for n in shape], 0
        tensor.type = self.schema.TensorType.FLOAT32
        if data is not None:
            if data.dtype == numpy.int32:
                tensor.type = self.schema.TensorType.INT32
            buffer = self.schema.BufferT()
            buffer.data = numpy.frombuffer(data.tobytes(), numpy.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        self.at[name] = len(self.graph.tensors) - 1
        return self.at[name]

    def shape(self, name):
        return self.graph.tensors[self.at[name]].shape

    def operator(self, kind, inputs, output, shape, options=None, version=1, **settings):
        """One operator; `options` names the schema's table of its settings."""
        schema = self.schema
        if kind not in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
            code.version = version
            self.model.operatorCodes.append(code)
            self.codes[kind] = len(self.codes)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs = self.codes[kind], inputs
        operator.outputs = [self.tensor(output, shape)]
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, options + "T")()
            for name, value in settings.items():
                setattr(operator.builtinOptions, name, value)
        self.graph.operators.append(operator)

    def finish(self, inputs, outputs):
        """The file's bytes, with a signature, which the quantizer asks for."""
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        for side, names in (("inputs", inputs), ("outputs", outputs)):
            setattr(self.graph, side, [self.at[name] for name in names])
            maps = []
            for name in names:
                entry = self.schema.TensorMapT()
                entry.name, entry.tensorIndex = name.encode(), self.at[name]
                maps.append(entry)
            setattr(signature, side, maps)
        self.model.signatureDefs = [signature]
        return packed(self.model)


def packed(model):
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tflite_float(net, path, size):
    """Operator by operator. All padding of the bench net is what TensorFlow calls SAME; worker's output is compared anyway."""
    import onnx

    graph = onnx.load(net).graph
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    out = Tflite()
    out.tensor(graph.input[0].name, [1, *size, 1])
    for node in graph.node:
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        name, entry = node.output[0], node.input[0]
        inputs, shape = [out.at[i] for i in node.input if i in out.at], list(out.shape(entry))
        if node.op_type in ("Conv", "ConvTranspose"):
            transposed = node.op_type == "ConvTranspose"
            kernel = weights[node.input[1]].transpose((1, 2, 3, 0) if transposed else (0, 2, 3, 1))
            constants = [out.tensor(node.input[1], kernel.shape, kernel), out.tensor(node.input[2], kernel.shape[:1], weights[node.input[2]])]
            stride, dilation = settings["strides"][0], settings["dilations"][0]
            same = {"padding": out.schema.Padding.SAME, "strideW": stride, "strideH": stride}
            if transposed:
                shape = [1, shape[1] * stride, shape[2] * stride, kernel.shape[0]]
                inputs = [out.tensor(f"{name}_shape", [4], numpy.array(shape, numpy.int32)), constants[0], *inputs, constants[1]]
                out.operator("TRANSPOSE_CONV", inputs, name, shape, "TransposeConvOptions", version=3, **same)
            else:
                shape = [1, shape[1] // stride, shape[2] // stride, kernel.shape[0]]
                same |= {"dilationWFactor": dilation, "dilationHFactor": dilation}
                out.operator("CONV_2D", inputs + constants, name, shape, "Conv2DOptions", **same)
        elif node.op_type == "Concat":
            shape[3] = sum(out.shape(i)[3] for i in node.input)
            out.operator("CONCATENATION", inputs, name, shape, "ConcatenationOptions", axis=3)
        elif node.op_type == "Add":
            out.operator("ADD", inputs, name, shape, "AddOptions")
        else:
            kind = {"Elu": "ELU", "Sigmoid": "LOGISTIC"}[node.op_type]
            out.operator(kind, inputs, name, shape)
    path.write_bytes(out.finish([graph.input[0].name], [graph.output[0].name]))


def tflite_int8(source, path, size):
    """All that AI Edge Quantizer knows in int8; slices and probabilities stay f32."""
    from ai_edge_quantizer import quantizer, recipe_manager
    from ai_edge_quantizer.recipe import AlgorithmName, TFLOperationName

    recipe = recipe_manager.RecipeManager()
    everything = TFLOperationName.ALL_SUPPORTED
    recipe.add_static_config(regex=".*", operation_name=everything, activation_num_bits=8, weight_num_bits=8)
    for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        recipe.add_quantization_config(regex=".*", operation_name=end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    work = quantizer.Quantizer(str(source), recipe.get_quantization_recipe())
    slices = [{"image": image[:, :, :, None]} for image in nets.calibration(size)]
    ranges = work.calibrate({"serving_default": slices}, num_threads=1)
    path.write_bytes(work.quantize(ranges, enable_progress_report=False).quantized_model)


def tflite_int8_elu(source, path, size):
    """The int8 file with each ELU between the int8 tensors around it, in place of a dequantized one."""
    from ai_edge_litert import schema_py_generated as schema

    raw = source.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(raw, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:
            # Kept behind the tables; packing would lose it.
            buffer.data = numpy.frombuffer(raw, numpy.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    graph = model.subgraphs[0]
    elus = [o for o in graph.operators if model.operatorCodes[o.opcodeIndex].builtinCode == schema.BuiltinOperator.ELU]
    maker = {o.outputs[0]: o for o in graph.operators}
    gone = []
    for elu in elus:
        before = maker[elu.inputs[0]]
        first, *others = [o for o in graph.operators if elu.outputs[0] in o.inputs]
        elu.inputs, elu.outputs = before.inputs, first.outputs
        for other in others:
            # Users with another scale: int8 goes in here, too.
            other.inputs = first.outputs
        gone += [id(before), id(first)]
    graph.operators = [o for o in graph.operators if id(o) not in gone]
    path.write_bytes(packed(model))
