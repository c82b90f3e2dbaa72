#!/usr/bin/env python3
"""An outside judge of an exported package: ONNX Runtime, nibabel and NumPy, and none of this project's code.

    check_onnx.py MODEL.toml DATA f32|int8|int8-7 SUBJECT...
    check_onnx.py MODEL.toml DATA f32|int8|int8-7 --masks FOLDER SUBJECT...

Checks that the file has the form that its kind promises (int8-7: no byte between the layers is ever above 127), segments the subjects, and prints each one's Dice per label in the
columns of `monet-train evaluate` (with a dash for HD95). With a folder of masks, such as the device's, the voxels where a mask of the
subject's name says otherwise are counted: more than 1 in 200 (an int8 step here and there) is an error. Needs Python 3.11 with onnxruntime, onnx, nibabel and numpy.
"""

import pathlib
import sys
import tomllib

import nibabel
import numpy as np
import onnx
import onnxruntime


def check_form(path: pathlib.Path, kind: str) -> None:
    """Standard operators of opset 17; in an int8 file integer weights and a Q/DQ pair wherever the contract has one."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)], "expected opset 17 alone"
    nodes = list(model.graph.node)
    types = {t.name: t.data_type for t in model.graph.initializer}
    pairs = sum(node.op_type == "QuantizeLinear" for node in nodes)
    if kind == "f32":
        assert pairs == 0, "a float file quantizes"
        return
    made_by = {node.output[0]: node for node in nodes}
    readers = {name: node for node in nodes for name in node.input}
    # The input and whatever is computed, up to the logits; where an activation follows, behind that.
    activations = ("Elu", "Relu", "Sigmoid")
    computed = ("Conv", "ConvTranspose", "Add", "Mul", "MaxPool", *activations)
    ends = [n for n in nodes if n.op_type in computed and n.output[0] in readers]
    expected = 1 + sum(
        not (n.op_type in ("Conv", "ConvTranspose") and readers[n.output[0]].op_type in (*activations, "Softmax"))
        for n in ends
    )
    assert pairs == expected, f"{pairs} QuantizeLinear, expected {expected}"
    for node in nodes:
        if node.op_type == "MaxPool":
            after = readers[node.output[0]]
            values = {t.name: onnx.numpy_helper.to_array(t).item() for t in model.graph.initializer if t.dims == []}
            own = [values[name] for name in made_by[node.input[0]].input[1:]]
            assert own == [values[name] for name in after.input[1:]], f"{node.name}: its scale is not its input's"
    for node in nodes:
        if node.op_type in ("Conv", "ConvTranspose"):
            values = [types[made_by[name].input[0]] for name in node.input[1:]]
            assert values == [onnx.TensorProto.INT8, onnx.TensorProto.INT32], f"{node.name}: weight, bias {values}"
        if node.op_type == "Concat":
            scales = {tuple(made_by[name].input[1:]) for name in node.input}
            constants = {t.name: onnx.numpy_helper.to_array(t).item() for t in model.graph.initializer if t.dims == []}
            assert len({tuple(constants[c] for c in pair) for pair in scales}) == 1, f"{node.name}: scales differ"


def prepare(volume: np.ndarray, manifest: dict) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Normalised slices [n, 1, height, width], padded around their centre, and where in them the volume lies."""
    ordered = np.sort(volume[np.isfinite(volume)], axis=None)
    percents = manifest["normalise"]["low"], manifest["normalise"]["high"]
    low, high = (ordered[int(p / 100 * (len(ordered) - 1) + 0.5)] for p in percents)
    slices = np.clip((volume - low) / (high - low), 0, 1).transpose(2, 1, 0)
    inside, pads = [], [(0, 0)]
    for length, least in zip(slices.shape[1:], (manifest["input"]["height"], manifest["input"]["width"])):
        step = manifest["input"].get("step", 4)
        net = max(-(-length // step) * step, least)
        before = (net - length) // 2
        pads.append((before, net - length - before))
        inside.append(slice(before, before + length))
    return np.pad(slices, pads)[:, None].astype(np.float32), tuple(inside)


def main() -> None:
    manifest_path, data, kind, *subjects = sys.argv[1:]
    masks = None
    if subjects[0] == "--masks":
        masks, subjects = pathlib.Path(subjects[1]), subjects[2:]
    manifest = tomllib.loads(pathlib.Path(manifest_path).read_text())
    path = pathlib.Path(manifest_path).parent / manifest["model"]
    check_form(path, kind)
    model = onnx.load(path)
    bytes_ = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in bytes_)
    options = onnxruntime.SessionOptions()
    # As written: fused integer kernels may round differently.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    most = []
    for subject in subjects:
        def load(part: str) -> np.ndarray:
            file = next(pathlib.Path(data, part).glob(f"{subject}.nii*"))
            return nibabel.as_closest_canonical(nibabel.load(file)).get_fdata(dtype=np.float32)

        net, inside = prepare(load("imagesTr"), manifest)
        probabilities, *tensors = session.run(["probabilities", *bytes_], {"image": net})
        most += [tensor.max() for tensor in tensors]
        found = probabilities.argmax(axis=1)[:, inside[0], inside[1]].transpose(2, 1, 0)
        if masks:
            mask = nibabel.as_closest_canonical(nibabel.load(masks / f"{subject}.nii.gz")).get_fdata(dtype=np.float32)
            differ = int((mask != found).sum())
            assert differ <= found.size // 200, f"{subject}: {differ} of {found.size} voxels differ from the mask"
        truth = load("labelsTr")
        scores = []
        for label in (entry["value"] for entry in manifest["labels"]):
            a, b = found == label, truth == label
            scores.append(f"{2 * (a & b).sum() / (a.sum() + b.sum()):.4f} —")
        print(subject, *scores)
    if bytes_:
        assert max(most) == (127 if kind == "int8-7" else 255), f"{kind}: the largest byte is {max(most)}"


if __name__ == "__main__":
    main()
