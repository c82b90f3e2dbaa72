"""What volumes are to Python, as a buffer and what it holds."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy

from . import _monet


class Array(NamedTuple):
    """Voxels one after another."""

    bytes: memoryview
    about: dict[str, Any]
    transposed: bool
    """Whether the first axis of the buffer is the caller's last."""


def array_of(volume: Any, affine: Any) -> Array:
    """The buffer of a nibabel image, a SimpleITK image, or an array with an affine."""
    image = _image(volume)
    if affine is None:
        if image is None:
            raise TypeError(
                f"a {type(volume).__name__}: expected a path, an image of nibabel or SimpleITK, "
                "or an array with affine=..."
            )
        voxels, affine, nifti = image
    elif image is None:
        voxels, nifti = volume, None
    else:
        raise TypeError("an image says by itself where its voxels lie: leave out affine")
    voxels = numpy.asanyarray(voxels)
    if isinstance(voxels, numpy.ma.MaskedArray):
        raise TypeError("a masked array: say by .filled(value) what masked voxels are")
    while voxels.ndim > 4 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim not in (3, 4):
        raise ValueError(
            f"an array of {voxels.ndim} axes: expected three, or four with channels last"
        )
    if voxels.dtype == numpy.float16:
        voxels = voxels.astype(numpy.float32)
    affine = numpy.asarray(affine, float)
    if affine.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"an affine of {affine.shape}: expected 4 x 4 or 3 x 4")
    if len(affine) == 4 and affine[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(f"an affine whose last row is {affine[3].tolist()}: expected 0, 0, 0, 1")
    return _buffer(voxels, affine[:3], nifti)


def _buffer(voxels: numpy.ndarray, affine: numpy.ndarray, nifti: bytes | None) -> Array:
    """The axes in the order in which they lie in memory, the fastest first, channels last.

    A volume of three axes whose fastest is the third is read as the volume of the reversed axes, so
    that neither order is copied. One with channels in C order is copied: its channels lie together.
    """
    channels = voxels.shape[3] if voxels.ndim == 4 else 1
    if voxels.flags.f_contiguous:
        transposed, flat = False, voxels.T
    elif voxels.ndim == 3:
        transposed, flat = True, numpy.ascontiguousarray(voxels)
    else:
        transposed, flat = False, numpy.ascontiguousarray(voxels.T)
    size = voxels.shape[:3]
    if transposed:
        size, affine = size[::-1], affine[:, [2, 1, 0, 3]]
    about = {
        "dtype": voxels.dtype.str,
        "size": [int(n) for n in size],
        "channels": channels,
        "affine": affine.tolist(),
        "nifti": nifti,
    }
    return Array(flat.reshape(-1).view(numpy.uint8).data, about, transposed)


def _image(volume: Any) -> tuple[Any, Any, bytes | None] | None:
    """Voxels, affine and, of NIfTI, the header of another library's image; None of what is none.

    The libraries are not imported: whoever has such an image has imported its library.
    """
    nibabel = sys.modules.get("nibabel")
    if nibabel and isinstance(volume, nibabel.spatialimages.SpatialImage):
        if isinstance(volume, nibabel.Nifti1Pair):
            header = _nifti_header(nibabel, volume)
            return volume.dataobj, _monet.nifti_affine(header), header
        if volume.affine is None:
            raise ValueError("the image has no affine")
        return volume.dataobj, volume.affine, None
    itk = sys.modules.get("SimpleITK")
    if itk and isinstance(volume, itk.Image):
        return *_itk(itk, volume), None
    return None


def _nifti_header(nibabel: Any, image: Any) -> bytes:
    """The header that nibabel would write with an image.

    It has the unit of the image's affine, which may be metres, and tells whether that was made up.
    """
    kind = nibabel.Nifti1Image
    if isinstance(image.header, nibabel.Nifti2Header):
        kind = nibabel.Nifti2Image
    # A new image brings its header in line with its affine and its size.
    header = kind(image.dataobj, image.affine, image.header).header
    # nibabel has scaled the voxels by it, or will.
    header["scl_slope"] = 0
    return bytes(header.binaryblock)


def _itk(itk: Any, image: Any) -> tuple[Any, Any]:
    """ITK counts millimetres to the left and posterior."""
    if image.GetDimension() != 3:
        raise ValueError(f"an image of {image.GetDimension()} dimensions: expected three")
    affine = numpy.eye(4)
    directions = numpy.reshape(image.GetDirection(), (3, 3))
    affine[:3, :3] = directions * numpy.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    voxels = itk.GetArrayViewFromImage(image)
    # Of an image with channels these are the last axis, and the other axes come reversed.
    axes = (2, 1, 0) if voxels.ndim == 3 else (2, 1, 0, 3)
    return voxels.transpose(axes), numpy.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
