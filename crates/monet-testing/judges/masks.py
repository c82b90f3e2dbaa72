"""Outside judge of whole segmentations: onnxruntime, nibabel and numpy do what monet does, written independently of it.

Usage: masks.py NET.onnx IMAGES LABELS MASKS. Fails below 99.9 % equal voxels, or where Dice differ by 0.001.
"""
import pathlib
import sys

import nibabel
import numpy
import onnxruntime

net, images, labels, masks = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(net, options)
equal = total = 0
dice = {"monet": [], "onnxruntime": []}
for mask_path in sorted(pathlib.Path(masks).glob("*.nii.gz")):
    image = nibabel.as_closest_canonical(nibabel.load(pathlib.Path(images) / mask_path.name))
    x = numpy.asarray(image.dataobj, dtype=numpy.float64).astype(numpy.float32)
    ordered = numpy.sort(x, axis=None)
    low, high = (ordered[int(numpy.floor(p / 100 * (x.size - 1) + 0.5))] for p in (0.5, 99.5))
    x = numpy.clip((x - low) / (high - low), 0, 1)
    w, n, h = x.shape  # Coronal slices: columns R, rows S, slice by slice A.
    padded = numpy.zeros((n, 1, max(48, -(-h // 4) * 4), max(48, -(-w // 4) * 4)), numpy.float32)
    top, left = (padded.shape[2] - h) // 2, (padded.shape[3] - w) // 2
    padded[:, 0, top : top + h, left : left + w] = x.transpose(1, 2, 0)
    # A net of three planes sees the slices behind and before, at the ends the slice itself.
    reach = session.get_inputs()[0].shape[1] // 2
    planes = [padded[numpy.clip(numpy.arange(n) + i, 0, n - 1), 0] for i in range(-reach, reach + 1)]
    padded = numpy.stack(planes, axis=1)
    found = session.run(None, {session.get_inputs()[0].name: padded})[0].argmax(1)
    found = found[:, top : top + h, left : left + w].transpose(2, 0, 1)
    mask = numpy.asarray(nibabel.as_closest_canonical(nibabel.load(mask_path)).dataobj)
    truth = numpy.asarray(nibabel.as_closest_canonical(nibabel.load(pathlib.Path(labels) / mask_path.name)).dataobj)
    equal += (mask == found).sum()
    total += mask.size
    for name, volume in (("monet", mask), ("onnxruntime", found)):
        dice[name].append([2 * ((volume == v) & (truth == v)).sum() / ((volume == v).sum() + (truth == v).sum()) for v in (1, 2)])
means = {name: numpy.mean(values, axis=0) for name, values in dice.items()}
print(f"{len(dice['monet'])} subjects: {equal / total:.6%} of voxels equal; mean Dice {means}")
assert total and equal / total >= 0.999
assert numpy.abs(means["monet"] - means["onnxruntime"]).max() < 0.001
