"""What segmenting a volume gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """Labels of a volume on its own grid. Notebooks show the preview."""

    labels: numpy.ndarray
    """Labels, uint8, with the axes of the volume; 0 is background."""

    affine: numpy.ndarray
    """4×4, from indices to millimetres to the right, anterior and superior."""

    names: dict[int, str]
    """Names of the labels by their values."""

    figures: dict[str, Any]
    """What ``monet segment --stats`` writes: volumes, centroids, times, the model, memory."""

    preview: bytes | None
    """A picture of outlined slices, as PNG."""

    @property
    def volumes(self) -> dict[str, float]:
        """Millilitres of the labels by their names."""
        return {label["name"]: label["ml"] for label in self.figures["labels"]}

    @property
    def warnings(self) -> list[str]:
        """What is odd about the volume or the result."""
        return list(self.figures.get("warnings", []))

    def to_nibabel(self) -> Any:
        """The labels as a nibabel image."""
        import nibabel

        image = nibabel.Nifti1Image(self.labels, self.affine)
        image.header.set_intent("label")
        return image

    def to_simpleitk(self) -> Any:
        """The labels as a SimpleITK image."""
        import SimpleITK

        image = SimpleITK.GetImageFromArray(self.labels.transpose(2, 1, 0))
        affine = numpy.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine
        spacing = numpy.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine[:3, :3] / spacing).flatten().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        return image

    def __repr__(self) -> str:
        """A line: voxels along each axis, and each label's volume."""
        size = "×".join(str(n) for n in self.labels.shape)
        found = ", ".join(f"{name} {ml:.3f} ml" for name, ml in self.volumes.items())
        return f"<monet.Segmentation of {size} voxels: {found}>"

    def _repr_png_(self) -> bytes | None:
        return self.preview

    @classmethod
    def _of(cls, found: tuple[Any, ...], names: dict[int, str], transposed: bool) -> Segmentation:
        """Of what the Rust part returns. The labels stay where they were written."""
        raw, size, rows, figures, preview = found
        # The buffer's first axis is the fastest.
        labels = numpy.frombuffer(raw, numpy.uint8).reshape(size[::-1])
        affine = numpy.vstack([rows, [0.0, 0.0, 0.0, 1.0]])
        if transposed:
            affine = affine[:, [2, 1, 0, 3]]
        else:
            labels = labels.T
        return cls(labels, affine, names, json.loads(figures), preview)
