"""Outside judge of the volume reader and writer: nibabel must see the same voxels, placement and labels.

Usage: nifti.py LIST, each line: image, label volume, weighted sum of voxels in RAS, affine in RAS (tab-separated).
"""
import ast
import sys

import nibabel
import numpy

for line in open(sys.argv[1]):
    image, labels, total, affine = line.rstrip("\n").split("\t")
    loaded = nibabel.load(image)
    ras = nibabel.as_closest_canonical(loaded)
    voxels = numpy.asarray(ras.dataobj, dtype=numpy.float64).astype(numpy.float32)
    flat = voxels.reshape(-1, order="F").astype(numpy.float64)
    found = (flat * (numpy.arange(flat.size) % 1009)).sum()
    assert numpy.isclose(found, float(total), rtol=1e-9), (image, found, total)
    assert numpy.allclose(ras.affine[:3], numpy.array(ast.literal_eval(affine)), atol=1e-4), image
    written = nibabel.load(labels)
    assert written.get_data_dtype() == numpy.uint8 and written.shape == loaded.shape[:3], labels
    assert numpy.array_equal(written.affine, loaded.affine), labels
    expected = numpy.asarray(loaded.dataobj, dtype=numpy.float64).astype(numpy.float32)
    expected = (numpy.abs(expected).astype(numpy.uint64) % 251).astype(numpy.uint8)
    assert numpy.array_equal(numpy.asarray(written.dataobj), expected.reshape(written.shape)), labels
