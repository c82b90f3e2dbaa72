#!/usr/bin/env python3
"""Cuts the sample volume: a hippocampus-sized box out of the MNI152 T1 template that the nilearn wheel carries.

    pip install nibabel nilearn && tools/make-sample.py models/sample/mni152-hippocampus.nii.gz
"""
import pathlib
import sys

import nibabel
import nilearn.datasets
import numpy

# A box around the left hippocampus in MNI millimetres, with the margin that the training crops have.
BOX = numpy.array([[-44, -6], [-50, 2], [-31, 5]])

data = pathlib.Path(nilearn.datasets.__file__).parent / "data"
template = nibabel.as_closest_canonical(nibabel.load(data / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"))
corners = numpy.linalg.inv(template.affine) @ numpy.vstack([BOX, numpy.ones(2)])
(x0, x1), (y0, y1), (z0, z1) = numpy.round(corners[:3]).astype(int)
box = template.slicer[x0:x1, y0:y1, z0:z1]
voxels = numpy.asarray(box.dataobj, dtype=numpy.float32)
sample = nibabel.Nifti1Image((voxels / voxels.max() * 1000).round().astype(numpy.int16), box.affine)
sample.header.set_xyzt_units("mm")
sample.header["descrip"] = b"crop of the MNI152 T1 template, see NOTICE"
nibabel.save(sample, sys.argv[1])
print(sample.shape, sample.header.get_zooms())
