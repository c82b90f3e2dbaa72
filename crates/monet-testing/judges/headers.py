"""Outside judges of where headers place volumes: nibabel and SimpleITK (ITK, with nifti_clib inside).

Usage: headers.py LIST, each line: path, whether SimpleITK is asked (tab-separated; it hangs on a sform that is not
finite). Prints a line of JSON for each: the affine that nibabel takes, that of nibabel's
qform, and SimpleITK's, as three rows in RAS; null where a judge refuses the file or gives numbers that are not finite.
nibabel leaves lengths in the file's unit, SimpleITK gives millimetres.
"""
import json
import logging
import sys

import nibabel
import numpy
import SimpleITK

nibabel.imageglobals.logger.setLevel(logging.CRITICAL)
SimpleITK.ProcessObject.GlobalWarningDisplayOff()


def rows(affine):
    return affine[:3].tolist() if numpy.isfinite(affine).all() else None


def attempt(judge):
    try:
        with numpy.errstate(all="ignore"):
            return rows(judge())
    except Exception:
        return None


def itk(path):
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(path)
    reader.SetImageIO("NiftiImageIO")
    reader.ReadImageInformation()
    n = reader.GetDimension()
    direction = numpy.array(reader.GetDirection()).reshape(n, n)[:3, :3]
    affine = numpy.eye(4)
    affine[:3, :3] = direction * numpy.array(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    return numpy.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


for line in open(sys.argv[1]):
    path, asked = line.rstrip("\n").split("\t")
    try:
        header = nibabel.load(path).header
    except Exception:
        header = None
    best = attempt(lambda: header.get_best_affine())
    qform = attempt(lambda: header.get_qform())
    print(json.dumps([best, qform, attempt(lambda: itk(path)) if asked == "true" else None]))
