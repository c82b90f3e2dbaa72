"""Segments CT and MR volumes on the CPU: a quantized MoNet, slice by slice in bounded memory.

>>> import monet
>>> result = monet.segment("models/sample/mni152-hippocampus.nii.gz")
>>> {name: round(volume, 3) for name, volume in result.volumes.items()}
{'anterior': 2.252, 'posterior': 1.715}
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import _monet, _volumes
from ._monet import (
    ModelError,
    MonetError,
    NotAcceptedError,
    OutputError,
    VolumeError,
    __version__,
    kernels,
)
from ._segmentation import Segmentation

__all__ = [
    "Model",
    "ModelError",
    "MonetError",
    "NotAcceptedError",
    "OutputError",
    "Segmentation",
    "Series",
    "VolumeError",
    "__version__",
    "evaluate",
    "kernels",
    "profile",
    "segment",
]

Progress = Callable[[int, int], object]
"""Is called with the slices that are done, and all. What it raises ends the segmentation."""


class Series(NamedTuple):
    """A DICOM series, as :meth:`Model.series` lists it."""

    uid: str
    """Names it to ``series=``: its Series Instance UID, ``:N`` behind it if it has several stacks."""

    folder: Path
    """Where its files are."""

    stem: str
    """A name for files made of it, without patient or date: ``ct-3-118207``."""

    obstacles: list[str]
    """What speaks against the package's taking it; empty where it does."""


class Model:
    """A package that is ready for volumes; engines are kept from one to the next.

    A model may be used from several threads, which then take turns. For volumes at the same time,
    make a model a thread.

    :param path: a package's manifest (``.toml``) or a plan (``.plan``); the embedded hippocampus
        package without it.
    :param threads: slices segmented at the same time.
    :param kernel: of the int8 engine, one of :func:`kernels`; the fastest without it. Labels are
        equal to the bit on all of them.
    :raises ModelError: the package cannot be loaded, or the CPU has not the kernel.

    >>> import monet
    >>> monet.Model().labels
    {1: 'anterior', 2: 'posterior'}
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        threads: int = 1,
        kernel: str | None = None,
    ) -> None:
        self._model = _monet.Model(None if path is None else os.fspath(path), threads, kernel)

    @property
    def name(self) -> str:
        """The package's name."""
        return self._model.name

    @property
    def version(self) -> str:
        """The package's version."""
        return self._model.version

    @property
    def kernel(self) -> str:
        """The kernel of the int8 engine."""
        return self._model.kernel

    @property
    def orientation(self) -> str:
        """To which sides the axes of the net's slices run, for example ``LPS``."""
        return self._model.orientation

    @property
    def labels(self) -> dict[int, str]:
        """Names of the labels by their values."""
        return dict(self._model.labels)

    def __repr__(self) -> str:
        return f"<monet.Model {self.name} {self.version}: {', '.join(self.labels.values())}>"

    def segment(
        self,
        volume: Any,
        *,
        affine: Any = None,
        accept_any: bool = False,
        measure: bool = False,
        preview: bool = True,
        series: str | None = None,
        allow_gaps: bool = False,
        progress: Progress | None = None,
    ) -> Segmentation:
        """Segments a volume into memory. Other Python threads run meanwhile.

        :param volume: the path of a NIfTI file, or of DICOM (a folder, a ``.zip``, a file); a
            nibabel image; a SimpleITK image; or an array of three axes, or of four with channels
            last, with ``affine``. An array whose voxels follow one another is read where it lies,
            of three axes in either order, of four in Fortran order; others are copied first.
        :param affine: 4×4 or 3×4, from an array's indices to millimetres to the right, anterior
            and superior. An image has its own; nibabel's is in the unit that the header names,
            which is heeded.
        :param accept_any: segments a volume that the package was not made for, with a warning.
        :param measure: adds each label's mean, deviation, least and largest intensity to the
            figures, and of DICOM the digests of the files.
        :param preview: draws a picture, which notebooks show.
        :param series: of DICOM, the Series Instance UID; the one that the package accepts without
            it.
        :param allow_gaps: segments a DICOM series with missing slices.
        :param progress: is told of each slice.
        :raises VolumeError: the volume cannot be read.
        :raises NotAcceptedError: the package was not made for it.
        :raises ValueError: the volume is no DICOM, and ``series`` or ``allow_gaps`` is given.
        :raises KeyboardInterrupt: it was interrupted.
        """
        options = {
            "accept_any": accept_any,
            "measure": measure,
            "preview": preview,
            "series": series,
            "allow_gaps": allow_gaps,
            "progress": progress,
        }
        if isinstance(volume, (str, os.PathLike)):
            if affine is not None:
                raise TypeError("a file says by itself where its voxels lie: leave out affine")
            found, transposed = self._model.read(os.fspath(volume), options), False
        else:
            array = _volumes.array_of(volume, affine)
            found = self._model.array(array.bytes, array.about, options)
            transposed = array.transposed
        return Segmentation._of(found, self.labels, transposed)

    def segment_file(
        self,
        volume: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        stats: str | os.PathLike[str] | None = None,
        preview: str | os.PathLike[str] | None = None,
        format: str | None = None,
        overwrite: bool = False,
        accept_any: bool = False,
        series: str | None = None,
        allow_gaps: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Segments a volume in files into files, as the command does, and returns the figures.

        Outputs appear complete and together, or not at all. Memory does not depend on the number
        of slices.

        :param output: ``.nii`` or ``.nii.gz``; of DICOM ``.dcm``.
        :param stats: figures as JSON.
        :param preview: a picture as PNG.
        :param format: what labels of DICOM become: ``seg``, ``labelmap``, ``rtstruct`` or
            ``nifti``; what the output's name says without it.
        :param overwrite: replaces files that exist.
        :raises OutputError: an output exists, or cannot be written.

        The other parameters and exceptions are those of :meth:`segment`.
        """
        files = {
            "output": os.fspath(output),
            "stats": None if stats is None else os.fspath(stats),
            "preview": None if preview is None else os.fspath(preview),
            "format": format,
            "overwrite": overwrite,
        }
        options = {
            "accept_any": accept_any,
            "measure": stats is not None,
            "preview": False,
            "series": series,
            "allow_gaps": allow_gaps,
            "progress": progress,
        }
        return _figures(self._model.write(os.fspath(volume), files, options))

    def series(self, path: str | os.PathLike[str]) -> list[Series]:
        """The DICOM series in a folder and all that is below it, in a ``.zip`` or a file.

        :raises VolumeError: nothing can be read there.
        """
        found = self._model.list_series(os.fspath(path))
        return [Series(uid, Path(folder), stem, against) for uid, folder, stem, against in found]

    def profile(
        self, *, size: tuple[int, int] | None = None, threads: int = 1, runs: int = 50
    ) -> dict[str, Any]:
        """Measures the net on this machine, as ``monet profile --json`` does.

        :param size: height and width of the slices, multiples of 4 up to 4096; the package's own
            without it.
        :param threads: each with slices of its own, 1 to 256.
        :param runs: slices on each thread, 1 to 1,000,000.
        :raises ValueError: one of them is not.
        """
        text = None if size is None else f"{size[0]}x{size[1]}"
        return _figures(self._model.profile(text, threads, runs))


def _figures(text: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(text)
    return figures


def segment(
    volume: Any,
    *,
    model: Model | str | os.PathLike[str] | None = None,
    threads: int | None = None,
    **options: Any,
) -> Segmentation:
    """Segments one volume: :meth:`Model.segment` of a model that is made for it.

    :param model: a package's path, or a model that is ready, whose threads are its own.

    >>> import monet, numpy
    >>> noise = numpy.random.default_rng(1).integers(0, 500, (40, 40, 20), dtype=numpy.int16)
    >>> monet.segment(noise, affine=numpy.eye(4), accept_any=True).labels.shape
    (40, 40, 20)
    """
    if not isinstance(model, Model):
        model = Model(model, threads=1 if threads is None else threads)
    elif threads is not None:
        raise TypeError("a model that is ready has threads of its own: leave out threads")
    return model.segment(volume, **options)


def evaluate(
    pred: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    labels: Sequence[int] = (),
    slices: bool = False,
) -> dict[str, Any]:
    """Compares a label volume with the truth, as ``monet evaluate`` does for one subject.

    :param pred: NIfTI, or a DICOM segmentation, label map or structure set.
    :param truth: the same.
    :param labels: those that are compared; all that occur without it.
    :param slices: adds Dice of each slice.
    :returns: ``labels``, each with ``dice``, ``hd95_mm``, ``hausdorff_mm``, ``pred_ml``,
        ``truth_ml``, and what ``monet evaluate --json`` has beside them.
    :raises VolumeError: one of them cannot be read, or their grids differ.
    """
    pred, truth = os.fspath(pred), os.fspath(truth)
    name = os.path.basename(pred)
    return _figures(_monet.evaluate(name, pred, truth, list(labels), slices))


def profile(
    model: Model | str | os.PathLike[str] | None = None, **options: Any
) -> dict[str, Any]:
    """Measures a model on this machine: :meth:`Model.profile`.

    >>> import monet
    >>> monet.profile(runs=3)["model"]
    'hippocampus'
    """
    return (model if isinstance(model, Model) else Model(model)).profile(**options)
