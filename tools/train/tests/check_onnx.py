#!/usr/bin/env python3
"""An outside judge of an exported package: ONNX Runtime, nibabel and NumPy, and none of this
project's code.

    check_onnx.py MODEL.toml DATA f32|int8|int8-7 SUBJECT...
    check_onnx.py MODEL.toml DATA f32|int8|int8-7 --masks FOLDER SUBJECT...

Checks that the file has the form that its kind promises (int8-7: no byte between the layers is ever
above 127), segments the subjects, and prints each one's Dice per label in the columns of
`monet-train evaluate` (with a dash for HD95). With a folder of masks, such as the device's, the
voxels where a mask of the subject's name says otherwise are counted: more than 1 in 200 (an int8
step here and there) is an error.

Understood are any orientation, one channel, neighbours, all normalisations, padding at the
package's own spacing, one label or several, merged values and largest pieces; images at another
spacing, which the device resamples, are refused. Needs Python 3.11 with onnxruntime, onnx, nibabel,
numpy and scipy.
"""

import pathlib
import sys
import tomllib

import nibabel
import numpy as np
import onnx
import onnxruntime
import scipy.ndimage

# Slices that the net is given at once.
BATCH = 16


def check_form(path: pathlib.Path, kind: str) -> None:
    """Standard operators of opset 17; in an int8 file integer weights and a Q/DQ pair wherever the
    contract has one."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)], (
        "expected opset 17 alone"
    )
    nodes = list(model.graph.node)
    types = {t.name: t.data_type for t in model.graph.initializer}
    pairs = sum(node.op_type == "QuantizeLinear" for node in nodes)
    if kind == "f32":
        assert pairs == 0, "a float file quantizes"
        return
    scalars = {
        t.name: onnx.numpy_helper.to_array(t).item()
        for t in model.graph.initializer
        if t.dims == []
    }
    made_by = {node.output[0]: node for node in nodes}
    readers = {name: node for node in nodes for name in node.input}
    # The input and whatever is computed, up to the logits; where an activation follows, behind
    # that.
    activations = ("Elu", "Relu", "Sigmoid")
    computed = ("Conv", "ConvTranspose", "Add", "Mul", "MaxPool", *activations)
    ends = [n for n in nodes if n.op_type in computed and n.output[0] in readers]
    expected = 1 + sum(
        not (
            n.op_type in ("Conv", "ConvTranspose")
            and readers[n.output[0]].op_type in (*activations, "Softmax")
        )
        for n in ends
    )
    assert pairs == expected, f"{pairs} QuantizeLinear, expected {expected}"
    for node in nodes:
        if node.op_type == "MaxPool":
            after = readers[node.output[0]]
            own = [scalars[name] for name in made_by[node.input[0]].input[1:]]
            assert own == [scalars[name] for name in after.input[1:]], (
                f"{node.name}: its scale is not its input's"
            )
    for node in nodes:
        if node.op_type in ("Conv", "ConvTranspose"):
            values = [types[made_by[name].input[0]] for name in node.input[1:]]
            assert values == [onnx.TensorProto.INT8, onnx.TensorProto.INT32], (
                f"{node.name}: weight, bias {values}"
            )
        if node.op_type == "Concat":
            scales = {tuple(made_by[name].input[1:]) for name in node.input}
            assert len({tuple(scalars[c] for c in pair) for pair in scales}) == 1, (
                f"{node.name}: scales differ"
            )


def oriented(path: pathlib.Path, manifest: dict) -> tuple[np.ndarray, np.ndarray]:
    """A volume's slices [n, height, width] as the package is oriented, and the size of a voxel in
    that order."""
    image = nibabel.load(path)
    codes = tuple(manifest.get("orientation", "RAS"))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    image = image.as_reoriented(turn)
    spacing = nibabel.affines.voxel_sizes(image.affine)
    return image.get_fdata(dtype=np.float32).transpose(2, 1, 0), spacing[::-1]


def rank(values: np.ndarray, percent: float) -> np.float32:
    """The value at a percentile, by the nearest rank."""
    ordered = np.sort(values, axis=None)
    return ordered[int(percent / 100 * (len(ordered) - 1) + 0.5)]


def normalised(slices: np.ndarray, rule: dict) -> np.ndarray:
    """Intensities as the net sees them."""
    kind = rule["kind"]
    if kind == "slice-percentiles":
        return np.stack([normalised(s[None], rule | {"kind": "percentiles"})[0] for s in slices])
    finite = slices[np.isfinite(slices)]
    if kind == "zscore":
        return np.clip((slices - finite.mean()) / finite.std(), -rule["clip"], rule["clip"])
    if kind == "foreground-percentiles":
        values, counts = np.unique(finite, return_counts=True)
        inner = finite[finite != values[counts.argmax()]]
        # What is not padding must leave a width.
        if (
            counts.max() * 128 >= finite.size
            and inner.size
            and rank(inner, rule["low"]) < rank(inner, rule["high"])
        ):
            finite = inner
    if kind == "window":
        low, high = rule["low"], rule["high"]
    elif kind in ("percentiles", "foreground-percentiles"):
        low, high = (rank(finite, rule[end]) for end in ("low", "high"))
    else:
        sys.exit(f"normalisation {kind!r} is not known to this judge")
    return np.clip((slices - low) / max(high - low, np.float32(1e-30)), 0, 1)


def prepare(
    slices: np.ndarray, spacing: np.ndarray, manifest: dict
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """What the net sees, [n, planes, height, width], padded around the centre, and where in it the
    volume lies."""
    fit, size = manifest["fit"], manifest["input"]
    if size["channels"] != 1 or fit["kind"] != "pad":
        sys.exit("this judge knows packages of one channel that pad")
    wanted = fit.get("spacing")
    if wanted and not np.allclose(spacing[1:], wanted[::-1], rtol=0.01):
        sys.exit(
            f"voxels are {spacing[1:]} mm, the package's {wanted[::-1]}: nothing resamples here"
        )
    inside, pads = [], [(0, 0)]
    for length, least in zip(slices.shape[1:], (size["height"], size["width"])):
        step = size.get("step", 4)
        net = max(-(-length // step) * step, least)
        before = (net - length) // 2
        pads.append((before, net - length - before))
        inside.append(slice(before, before + length))
    padded = np.pad(normalised(slices, manifest["normalise"]), pads).astype(np.float32)
    # Each slice with its neighbours; at the ends the slice itself stands for the one that is not
    # there.
    near, last = size.get("neighbours", 0), len(padded) - 1
    planes = [
        padded[np.clip(np.arange(last + 1) + offset, 0, last)] for offset in range(-near, near + 1)
    ]
    return np.stack(planes, axis=1), tuple(inside)


def labels_of(probabilities: np.ndarray, manifest: dict) -> np.ndarray:
    """Labels [n, height, width]; of labels that are limited to it the largest piece."""
    output = manifest["output"]
    if output["kind"] == "sigmoid":
        found = (probabilities[:, 0] > output["threshold"]).astype(np.uint8)
    else:
        found = probabilities.argmax(axis=1).astype(np.uint8)
    for label in manifest["labels"]:
        if label.get("largest"):
            pieces, count = scipy.ndimage.label(found == label["value"])
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
            if count > 1:
                found[(pieces != 0) & (pieces != sizes.argmax() + 1)] = 0
    return found


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
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in bytes_
    )
    options = onnxruntime.SessionOptions()
    # As written: fused integer kernels may round differently.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    most = 0
    for subject in subjects:

        def load(part: str) -> tuple[np.ndarray, np.ndarray]:
            return oriented(next(pathlib.Path(data, part).glob(f"{subject}.nii*")), manifest)

        net, inside = prepare(*load("imagesTr"), manifest)
        probabilities = []
        for first in range(0, len(net), BATCH):
            found, *tensors = session.run(
                ["probabilities", *bytes_], {"image": net[first : first + BATCH]}
            )
            probabilities.append(found[..., inside[0], inside[1]])
            most = max([most, *(int(tensor.max()) for tensor in tensors)])
        found = labels_of(np.concatenate(probabilities), manifest)
        if masks:
            mask, _ = oriented(next(masks.glob(f"{subject}.nii*")), manifest)
            differ = int((mask != found).sum())
            assert differ <= found.size // 200, (
                f"{subject}: {differ} of {found.size} voxels differ from the mask"
            )
            print(
                f"{subject}: {differ} of {found.size} voxels differ from the mask", file=sys.stderr
            )
        truth, _ = load("labelsTr")
        scores = []
        for label in manifest["labels"]:
            a, b = found == label["value"], np.isin(truth, label.get("from", [label["value"]]))
            scores.append(f"{2 * (a & b).sum() / (a.sum() + b.sum()):.4f} —")
        print(subject, *scores)
    if bytes_:
        assert most == (127 if kind == "int8-7" else 255), f"{kind}: the largest byte is {most}"


if __name__ == "__main__":
    main()
