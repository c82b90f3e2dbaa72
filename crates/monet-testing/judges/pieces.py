"""Outside judge of the largest piece: scipy labels the pieces of one mask, of which another must hold the largest and nothing else.

Usage: pieces.py ALL.nii LARGEST.nii. Prints how many pieces there were.
"""
import sys

import nibabel
import numpy
import scipy.ndimage

everything, largest = (numpy.asarray(nibabel.load(path).dataobj) for path in sys.argv[1:])
pieces, count = scipy.ndimage.label(everything)
sizes = numpy.bincount(pieces.ravel())[1:]
assert (sizes == sizes.max()).sum() == 1, f"two pieces are the largest: {sizes}"
assert numpy.array_equal(largest > 0, pieces == sizes.argmax() + 1), "another piece was kept"
print(f"{count} pieces of {sizes.min()} to {sizes.max()} voxels")
assert count > 20, "nothing to choose from"
