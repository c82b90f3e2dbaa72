"""Outside judge of Dice, Hausdorff distances and volumes: nibabel, numpy and scipy score the same files, written independently of monet.

Usage: measure.py PRED_DIR TRUTH_DIR SCORES.json, the JSON being that of `monet evaluate --json`. Surfaces come from a
binary erosion and distances from a k-d tree of points in world mm; the largest is scipy's own `directed_hausdorff` both ways. Where axes are
perpendicular, HD95 is taken by MedPy's formula as well: a distance transform of the one border, read at the other's voxels, both ways
stacked. Fails where a score differs by more than rounding, or is defined for one side only.
"""
import json
import pathlib
import sys

import nibabel
import numpy
from scipy import ndimage, spatial

pred_dir, truth_dir, scores = sys.argv[1:]
subjects = json.loads(pathlib.Path(scores).read_text())["subjects"]


def border(mask):
    """Voxels with a face neighbour outside the mask, beyond the volume's border included."""
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1), border_value=0)


def medpy_hd95(result, reference, spacing):
    """`medpy.metric.binary.hd95`, of which this is the code without its checks; it knows perpendicular axes only."""
    one_way = lambda a, b: ndimage.distance_transform_edt(~border(b), sampling=spacing)[border(a)]
    return numpy.percentile(numpy.hstack((one_way(result, reference), one_way(reference, result))), 95)


def judge(pred, truth, affine, voxel_ml):
    """The scores of one label; None where undefined."""
    p, t = (nibabel.affines.apply_affine(affine, numpy.argwhere(border(mask))) for mask in (pred, truth))
    volumes = pred.sum() * voxel_ml, truth.sum() * voxel_ml
    both = (pred & truth).sum()
    hd95 = hausdorff = None
    if len(p) and len(t):
        there, back = spatial.cKDTree(t).query(p)[0], spatial.cKDTree(p).query(t)[0]
        hd95 = numpy.percentile(numpy.concatenate([there, back]), 95)
        hausdorff = max(spatial.distance.directed_hausdorff(*way)[0] for way in ((p, t), (t, p)))
        steps = affine[:3, :3]
        spacing = numpy.linalg.norm(steps, axis=0)
        if numpy.allclose(steps.T @ steps, numpy.diag(spacing**2), atol=1e-9):
            assert abs(hd95 - medpy_hd95(pred, truth, spacing)) < 1e-9
    return {
        "dice": 2 * both / (pred.sum() + truth.sum()) if len(p) or len(t) else None,
        "hausdorff_mm": hausdorff,
        "hd95_mm": hd95,
        "pred_ml": volumes[0],
        "truth_ml": volumes[1],
        "difference_ml": volumes[0] - volumes[1],
        "difference_percent": 100 * (volumes[0] - volumes[1]) / volumes[1] if len(t) else None,
    }


compared = worst = 0
for subject in subjects:
    pred, truth = (nibabel.load(next(pathlib.Path(d).glob(f"{subject['subject']}.*"))) for d in (pred_dir, truth_dir))
    pred, truth = map(nibabel.as_closest_canonical, (pred, truth))
    voxel_ml = abs(numpy.linalg.det(truth.affine[:3, :3])) / 1000
    affine = truth.affine
    pred, truth = (numpy.rint(image.dataobj) for image in (pred, truth))
    for label in subject["labels"]:
        for name, ours in judge(pred == label["label"], truth == label["label"], affine, voxel_ml).items():
            theirs = label[name]
            where = f"{subject['subject']} label {label['label']} {name}: judge {ours}, monet {theirs}"
            assert (ours is None) == (theirs is None), where
            if ours is not None:
                assert abs(ours - theirs) <= 1e-9 * max(1, abs(ours)), where
                worst = max(worst, abs(ours - theirs))
            compared += 1
assert compared, "nothing was compared"
print(f"{len(subjects)} subjects, {compared} scores equal; largest difference {worst:.2e}")
