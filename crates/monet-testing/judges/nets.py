"""An outside judge of nets that other tools quantized: ONNX Runtime quantizes nets of three kinds in the ways that its users choose, and
says which labels each file stands for.

Usage: nets.py OUT foreign MODEL.onnx VOLUME.nii.gz   the model, quantized in nine ways
       nets.py OUT random COUNT SEED                  small U-Nets and MoNets with random weights
       nets.py OUT operators SEED                     one operator between a DequantizeLinear and a QuantizeLinear

Of each net: NAME.onnx, NAME.input (f32, slices × channels × height × width), NAME.labels (u8, of the file), NAME.float (u8, of the
net before it was quantized), NAME.margin (f32, how much more probable the label is than the next). Prints a line for each net:
name, kind, channels, height, width, slices.

ONNX Runtime multiplies without saturating here, as on a processor with VNNI, and as the operators' specification says.
"""
import logging
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplemented_
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

logging.disable(logging.WARNING)
ort.set_default_logger_severity(4)
U8, S8 = QuantType.QUInt8, QuantType.QInt8

# What users choose; weights of 8 signed bits for each channel and asymmetric activations unless it says otherwise.
WAYS = {
    "u8s8-channel": {},
    "u8s8-tensor": {"per_channel": False},
    "u8u8-tensor": {"per_channel": False, "weight_type": U8},
    "s8s8-channel": {"activation_type": S8},
    "u8s8-reduced": {"reduce_range": True},
    "symmetric": {"activation_type": S8, "extra_options": {"ActivationSymmetric": True}},
    "percentile": {"calibrate_method": CalibrationMethod.Percentile},
    "qoperator": {"quant_format": QuantFormat.QOperator},
    "convolutions": {"op_types_to_quantize": ["Conv", "ConvTranspose"]},
}
# Of the same tool, rarer.
MORE_WAYS = {
    "weights-asymmetric": {"per_channel": False, "extra_options": {"WeightSymmetric": False}},
    "pairs-at-weights": {"extra_options": {"AddQDQPairToWeight": True}},
    "pair-for-each-reader": {"extra_options": {"DedicatedQDQPair": True}},
    "qoperator-s8": {"quant_format": QuantFormat.QOperator, "activation_type": S8, "reduce_range": True},
    "qoperator-u8u8": {"quant_format": QuantFormat.QOperator, "per_channel": False, "weight_type": U8},
    "own-domain": {"extra_options": {"UseQDQContribOps": True}},
    "one-left-out": {"leave_out": True},
}


class Slices(CalibrationDataReader):
    def __init__(self, name, slices):
        self.slices = iter([{name: slices[i : i + 1]} for i in range(len(slices))])

    def get_next(self):
        return next(self.slices, None)


def run(path, slices):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except NotImplemented_:
        # It cannot do that for signed counts of its QOperator form; with weights of 7 bits nothing saturates.
        session = ort.InferenceSession(path, ort.SessionOptions(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: slices[i : i + 1]})[0] for i in range(len(slices))])


def decide(values):
    """Labels, and how much more probable each is than the next."""
    if values.shape[1] == 1:
        return (values[:, 0] > 0.5).astype(np.uint8), np.abs(2 * values[:, 0] - 1)
    if values.min() < 0 or values.max() > 1.001:
        values = np.exp(values - values.max(1, keepdims=True))
        values /= values.sum(1, keepdims=True)
    ordered = np.sort(values, 1)
    return values.argmax(1).astype(np.uint8), ordered[:, -1] - ordered[:, -2]


def write(out, name, kind, path, slices, floating):
    """Writes what stands beside a net's file, and its line."""
    labels, margin = decide(run(path, slices))
    for ending, values in [("input", slices), ("labels", labels), ("float", decide(floating)[0]), ("margin", margin.astype(np.float32))]:
        values.tofile(f"{out}/{name}.{ending}")
    print(name, kind, *slices.shape[1:], len(slices))


def quantize(source, target, name, calibration, leave_out=False, **way):
    if leave_out:
        convolutions = [n.name for n in onnx.load(source).graph.node if n.op_type == "Conv"]
        way["nodes_to_exclude"] = convolutions[1:2]
    settings = {"per_channel": True, "activation_type": U8, "weight_type": S8, "quant_format": QuantFormat.QDQ} | way
    quantize_static(source, target, Slices(name, calibration), **settings)


def foreign(out, model, volume):
    import nibabel

    image = np.asarray(nibabel.as_closest_canonical(nibabel.load(volume)).dataobj, np.float32)
    low, high = np.percentile(image, [0.5, 99.5])
    planes = np.clip((image - low) / (high - low), 0, 1).transpose(1, 2, 0)
    sides = [max(48, -(-n // 4) * 4) for n in planes.shape[1:]]
    planes = np.pad(planes, [(0, 0)] + [(0, s - n) for s, n in zip(sides, planes.shape[1:])])
    at = np.arange(len(planes))
    slices = np.stack([planes[np.clip(at + k, 0, len(planes) - 1)] for k in (-1, 0, 1)], 1).astype(np.float32)
    floating = run(model, slices[::4])
    for way, settings in WAYS.items():
        path = f"{out}/{way}.onnx"
        quantize(model, path, "image", slices[::6], **settings)
        write(out, way, "foreign", path, slices[::4], floating)


class Net:
    """Builds an f32 net node by node."""

    def __init__(self, random):
        self.random, self.nodes, self.constants, self.channels = random, [], [], {}

    def node(self, op, inputs, channels, **attributes):
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        self.channels[name] = channels
        return name

    def constant(self, values):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def convolution(self, x, cout, kernel, *, transposed=False, gain=1.0, **attributes):
        cin = self.channels[x]
        taps = cin * kernel * kernel / (attributes.get("strides", [1, 1])[0] ** 2 if transposed else 1)
        weights = self.random.normal(0, gain * np.sqrt(2 / taps), [*((cin, cout) if transposed else (cout, cin)), kernel, kernel])
        bias = self.constant(self.random.normal(0, 0.1, cout))
        op = "ConvTranspose" if transposed else "Conv"
        return self.node(op, [x, self.constant(weights), bias], cout, kernel_shape=[kernel, kernel], **attributes)

    def save(self, path, x, shape, classes):
        value = lambda name, channels: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, *shape[1:]])
        graph = helper.make_graph(self.nodes, "net", [value("image", shape[0])], [value(x, classes)], self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def blobs(random, count, shape):
    """Smooth slices between 0 and 1."""
    channels, height, width = shape
    y, x = np.mgrid[:height, :width] / max(height, width)
    slices = np.zeros([count, channels, height, width])
    for plane in slices.reshape(-1, height, width):
        for _ in range(6):
            (cy, cx), size = random.uniform(0, 1, 2), random.uniform(0.05, 0.3)
            plane += random.uniform(-1, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / size**2)
        plane += random.normal(0, 0.05, plane.shape)
    low, high = slices.min(), slices.max()
    return ((slices - low) / (high - low)).astype(np.float32)


def unet(net, x, random, classes, sides):
    act = random.choice(["Relu", "Elu", "LeakyRelu"])
    activate = lambda x: net.node(act, [x], net.channels[x])
    block = lambda x, cout: activate(net.convolution(x, cout, 3, pads=[1] * 4))
    features, skips = int(random.integers(4, 21)), []
    for _ in range(int(random.integers(1, 3))):
        x = block(x, features)
        skips.append((x, sides))
        if random.random() < 0.5:
            x = net.node("MaxPool", [x], features, kernel_shape=[2, 2], strides=[2, 2])
            sides = [n // 2 for n in sides]
        else:
            x = activate(net.convolution(x, features, 3, strides=[2, 2], pads=[1] * 4))
            sides = [-(-n // 2) for n in sides]
        features *= 2
    x = block(x, features)
    for skip, large in reversed(skips):
        features //= 2
        more = [n - 2 * m for n, m in zip(large, sides)]
        x = net.convolution(
            x, features, 2, transposed=True, strides=[2, 2],
            pads=[0, 0] + [max(-m, 0) for m in more], output_padding=[max(m, 0) for m in more],
        )
        x = net.node("Concat", [skip, x], 2 * features, axis=1)
        x, sides = block(x, features), large
    return head(net, x, random, classes)


def monet(net, x, random, classes, sides):
    activate = lambda x: net.node("Elu", [x], net.channels[x])
    dilated = lambda x, d: activate(net.convolution(x, net.channels[x], 3, pads=[d] * 4, dilations=[d, d], gain=0.8))
    add = lambda a, b: net.node("Add", [a, b], net.channels[a])

    def block(x):
        c2 = dilated(add(x, dilated(x, 4)), 3)
        return dilated(add(c2, dilated(c2, 2)), 1)

    features = int(random.integers(4, 17))
    into = lambda x, cout: activate(net.convolution(x, cout, 3, pads=[1] * 4))
    skip = block(into(x, features))
    x = activate(net.convolution(skip, features, 4, strides=[2, 2], pads=[1] * 4))
    x = block(into(x, 2 * features))
    more = [n % 2 for n in sides]
    x = activate(net.convolution(x, 2 * features, 4, transposed=True, strides=[2, 2], pads=[1] * 4, output_padding=more))
    x = block(into(net.node("Concat", [skip, x], 3 * features, axis=1), features))
    return head(net, x, random, classes)


def head(net, x, random, classes):
    # One step of quantized logits weighs little then.
    x = net.convolution(x, classes, 1, gain=0.5)
    if classes == 1:
        return net.node("Sigmoid", [x], 1)
    return x if random.random() < 0.2 else net.node("Softmax", [x], classes, axis=1)


def nets(out, count, seed):
    ways = list((WAYS | MORE_WAYS).items())
    for i in range(int(count)):
        random = np.random.default_rng([int(seed), i])
        kind, build = [("unet", unet), ("monet", monet)][i % 2]
        shape = [int(random.integers(1, 5)), *(int(n) for n in random.integers(17, 42, 2))]
        classes = int(random.integers(1, 6))
        net = Net(random)
        net.channels["image"] = shape[0]
        x = build(net, "image", random, classes, shape[1:])
        net.save(f"{out}/{i}.f32.onnx", x, shape, classes)
        slices, calibration = blobs(random, 2, shape), blobs(random, 8, shape)
        floating = run(f"{out}/{i}.f32.onnx", slices)
        way, settings = ways[i % len(ways)]
        path = f"{out}/{i}-{way}.onnx"
        quantize(f"{out}/{i}.f32.onnx", path, "image", calibration, **settings)
        write(out, f"{i}-{way}", kind, path, slices, floating)


# Operators with a real number for each of their input's, and some that have not.
OPERATORS = {
    "softmax": ("Softmax", {"axis": 1}), "softmax-rows": ("Softmax", {"axis": 2}), "softmax-last": ("Softmax", {}), "logsoftmax": ("LogSoftmax", {"axis": 1}),
    "hardmax": ("Hardmax", {"axis": 1}), "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}), "elu": ("Elu", {"alpha": 0.7}), "relu": ("Relu", {}),
    "leaky": ("LeakyRelu", {"alpha": 0.2}), "selu": ("Selu", {}), "celu": ("Celu", {"alpha": 0.5}), "softplus": ("Softplus", {}), "softsign": ("Softsign", {}),
    "hardsigmoid": ("HardSigmoid", {}), "hardswish": ("HardSwish", {}), "thresholded": ("ThresholdedRelu", {"alpha": 0.3}), "erf": ("Erf", {}), "exp": ("Exp", {}),
    "abs": ("Abs", {}), "neg": ("Neg", {}), "sin": ("Sin", {}), "floor": ("Floor", {}), "round": ("Round", {}), "sign": ("Sign", {}),
    "max": ("MaxPool", {"kernel_shape": [3, 3], "pads": [1] * 4}), "mean": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4}),
    "lrn": ("LRN", {"size": 3, "alpha": 0.5}), "lpnorm": ("LpNormalization", {"axis": 1}), "turned": ("Transpose", {"perm": [0, 1, 3, 2]}), "alone": ("Identity", {}),
    "norm": ("InstanceNormalization", {"more": [np.linspace(0.5, 1.5, 6), np.linspace(-1, 1, 6)]}),
    "batch": ("BatchNormalization", {"more": [np.linspace(0.5, 1.5, 6), np.linspace(-1, 1, 6), np.linspace(-0.2, 0.2, 6), np.linspace(0.5, 2, 6)]}),
    "slope": ("PRelu", {"more": [np.linspace(-0.2, 0.4, 6).reshape(6, 1, 1)]}), "clip": ("Clip", {"more": [-0.3, 0.6]}),
    "power": ("Pow", {"more": [2.0]}), "product": ("Mul", {"more": [np.linspace(-1, 1, 6).reshape(6, 1, 1)]}),
    "hardsigmoid-wide": ("HardSigmoid", {"alpha": 0.5, "beta": 0.3}), "ceiled": ("MaxPool", {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1] * 4, "ceil_mode": 1}),
    "mean-border": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
    **{f"{mode}-{place}": ("Resize", {"more": [None, [1, 1, 2, 2]], "mode": mode, "coordinate_transformation_mode": place, "nearest_mode": "floor"})
       for mode in ["nearest", "linear"] for place in ["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]},
    "nearest-prefer": ("Resize", {"more": [None, [1, 1, 2, 2]], "mode": "nearest"}),
    "cubic": ("Resize", {"more": [None, [1, 1, 2, 2]], "mode": "cubic", "cubic_coeff_a": -0.75}),
}


def operators(out, seed):
    random = np.random.default_rng(int(seed))
    shape, classes = [2, 24, 24], 4
    slices = blobs(random, 1, shape)
    zero = {"u8": (np.uint8, 110), "s8": (np.int8, -18)}
    for name, (op, attributes) in OPERATORS.items():
        for before, after in [("u8", "u8"), ("s8", "s8"), ("u8", "s8"), ("s8", "u8")]:
            net = Net(random)
            net.channels["image"] = shape[0]
            x = net.convolution("image", 6, 3, pads=[1] * 4)

            def rounded(x, signs, scale):
                kind, at = zero[signs]
                scale = net.constant(scale)
                net.constants.append(numpy_helper.from_array(np.asarray(at, kind), f"zero{len(net.nodes)}"))
                point = net.constants[-1].name
                counts = net.node("QuantizeLinear", [x, scale, point], 6)
                return net.node("DequantizeLinear", [counts, scale, point], 6)

            x = rounded(x, before, 0.0313)
            more = ["" if values is None else net.constant(values) for values in attributes.get("more", [])]
            x = net.node(op, [x, *more], 6, **{name: value for name, value in attributes.items() if name != "more"})
            x = rounded(x, after, 0.0197)
            side = 2 if op == "Resize" else 1
            x = net.convolution(x, classes, side, strides=[side, side], gain=2.0)
            x = net.node("Softmax", [x], classes, axis=1)
            path = f"{out}/{name}-{before}{after}.onnx"
            net.save(path, x, shape, classes)
            write(out, f"{name}-{before}{after}", "operator", path, slices, run(path, slices))


if __name__ == "__main__":
    {"foreign": foreign, "random": nets, "operators": operators}[sys.argv[2]](sys.argv[1], *sys.argv[3:])
