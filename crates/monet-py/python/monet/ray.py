"""Archives larger than a machine, by Ray Data: exactly one result a volume, resumed after kills.

>>> import monet.ray
>>> table = monet.ray.segment_archive(paths, "results/", model="heart.int8.toml")   # doctest: +SKIP

A volume's labels and its figures appear together, complete or not at all. So what is there is
done: a task that Ray runs again, and a driver that is started again, pass over it. The table is
made of the figures of all volumes at the end.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
import ray
import ray.data

import monet
from monet._monet import recover

__all__ = ["Volume", "segment_archive", "volumes_in"]

Path_ = str | os.PathLike[str]


class Volume(NamedTuple):
    """A volume of an archive."""

    input: Path_
    """A NIfTI file, or what holds a DICOM series."""

    output: str
    """Where its labels go, below the folder of results: ``sub-01/mask.nii.gz``, ``ct-3.dcm``."""

    series: str | None = None
    """Of DICOM, what names the series."""


def volumes_in(folder: Path_, model: monet.Model | None = None) -> list[Volume]:
    """The volumes of an archive: all NIfTI files below a folder and, where there are none, the
    DICOM series that the model accepts. Labels get the files' own places and names, or a series'
    name (:attr:`monet.Series.stem`).
    """
    folder = Path(folder)
    names = (name for name in folder.rglob("*") if name.name.endswith((".nii", ".nii.gz")))
    files = sorted(name for name in names if name.is_file())
    if files:
        return [Volume(path, str(path.relative_to(folder))) for path in files]
    series = (model or monet.Model()).series(folder)
    taken = [one for one in series if not one.obstacles]
    return [Volume(one.folder, f"{one.stem}.dcm", one.uid) for one in taken]


def segment_archive(
    volumes: Iterable[Volume | Path_],
    results: Path_,
    *,
    model: Path_ | None = None,
    table: str = "figures.parquet",
    workers: int | None = None,
    threads: int = 1,
    accept_any: bool = False,
) -> Path:
    """Segments all volumes on the Ray cluster and writes a table of figures, a row a volume.

    Paths must mean the same on all nodes (a network file system). A volume that fails costs its
    own row, which says why; the next call tries it again.

    :param volumes: paths, whose labels are named after the files, or :class:`Volume`.
    :param results: a folder, which gets ``labels/``, ``figures/`` and the table.
    :param model: a package or a plan on all nodes; the embedded package without it.
    :param table: the table's name: columns ``input``, ``output``, ``status`` (``done`` or
        ``failed``), ``error``, ``model``, ``slices``, ``seconds``, ``warnings``, and for each label
        ``<name>_ml`` and ``<name>_voxels``.
    :param workers: volumes at the same time; as many as the cluster has CPUs without it.
    :param threads: of a volume.
    :param accept_any: segments volumes that the package was not made for.
    :returns: the table's path.
    :raises ValueError: two volumes have one output, or an output lies elsewhere.
    """
    results = Path(results).absolute()
    jobs = [_job(volume, results) for volume in volumes]
    _check(jobs)
    for folder in {Path(job[kind]).parent for job in jobs for kind in ("labels", "figures")}:
        folder.mkdir(parents=True, exist_ok=True)
    names = monet.Model(model).labels.values()
    rows = []
    if jobs:
        ray.init(ignore_reinit_error=True)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        workers = workers or max(1, min(len(jobs), cpus // threads))
        made = ray.data.from_items(jobs, override_num_blocks=_blocks(len(jobs), workers)).map(
            _Worker,  # type: ignore[arg-type]  # Ray takes classes, too
            fn_constructor_args=(model and os.path.abspath(model), threads, accept_any),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=threads,
        )
        rows = [json.loads(row["row"]) for row in made.iter_rows()]
    rows.sort(key=lambda row: row["input"] + "\0" + row["output"])
    _write(rows, list(names), results / table)
    return results / table


def _job(volume: Volume | Path_, results: Path) -> dict[str, Any]:
    """A volume as Ray sends it to a worker."""
    if not isinstance(volume, Volume):
        name = Path(volume).name
        nifti = name.endswith((".nii", ".nii.gz"))
        volume = Volume(volume, name if nifti else f"{name}.dcm")
    stem = volume.output
    for ending in (".gz", ".nii", ".dcm"):
        stem = stem.removesuffix(ending)
    return {
        "input": os.path.abspath(volume.input),
        "series": volume.series or "",
        "output": volume.output,
        "labels": str(results / "labels" / volume.output),
        "figures": str(results / "figures" / f"{stem}.json"),
    }


def _check(jobs: list[dict[str, Any]]) -> None:
    """Refuses what would make one result of two volumes."""
    for kind in ("labels", "figures"):
        for path, count in Counter(job[kind] for job in jobs).items():
            if count > 1:
                raise ValueError(
                    f"{count} volumes have the output {path}: say by Volume where each goes"
                )
    for job in jobs:
        parts = Path(job["output"]).parts
        if ".." in parts or Path(job["output"]).is_absolute():
            raise ValueError(f"{job['output']}: expected an output below the folder of results")


def _blocks(jobs: int, workers: int) -> int:
    """So many that a lost block costs little, and few enough for Ray's own work."""
    return max(1, min(jobs, max(workers * 4, jobs // 16)))


class _Worker:
    """A model in a process of Ray's."""

    def __init__(self, model: str | None, threads: int, accept_any: bool) -> None:
        self.model = monet.Model(model, threads=threads)
        self.accept_any = accept_any

    def __call__(self, job: dict[str, Any]) -> dict[str, str]:
        """One row, as JSON: what is done already, is done now, or fails."""
        row = {"input": job["input"], "output": job["output"], "status": "done", "error": None}
        try:
            if not _is_done(job):
                self.segment(job)
            with open(job["figures"], encoding="utf-8") as file:
                row["figures"] = json.load(file)
        except (monet.MonetError, OSError, ValueError) as error:
            row |= {"status": "failed", "error": str(error)}
        return {"row": json.dumps(row)}

    def segment(self, job: dict[str, Any]) -> None:
        """Labels and figures of a volume. Where another process has made them meanwhile, its own
        are thrown away."""
        try:
            self.model.segment_file(
                job["input"],
                job["labels"],
                stats=job["figures"],
                series=job["series"] or None,
                accept_any=self.accept_any,
            )
        except monet.OutputError:
            if not _is_done(job):
                raise


def _is_done(job: dict[str, Any]) -> bool:
    """Whether labels are there to stay: a process that was killed while it named them may have
    left them half-way."""
    if os.path.isfile(job["labels"]):
        recover([os.path.dirname(job[kind]) for kind in ("labels", "figures")])
    return os.path.isfile(job["labels"])


def _write(rows: list[dict[str, Any]], names: list[str], path: Path) -> None:
    """The table, complete or not at all."""
    schema = [("input", pyarrow.string()), ("output", pyarrow.string())]
    schema += [("status", pyarrow.string()), ("error", pyarrow.string())]
    schema += [("model", pyarrow.string()), ("slices", pyarrow.int64())]
    schema += [("seconds", pyarrow.float64()), ("warnings", pyarrow.list_(pyarrow.string()))]
    for name in names:
        schema += [(f"{name}_ml", pyarrow.float64()), (f"{name}_voxels", pyarrow.int64())]
    made = pyarrow.Table.from_pylist([_row(row) for row in rows], pyarrow.schema(schema))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        pyarrow.parquet.write_table(made, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A volume's columns of the table."""
    figures = row.pop("figures", None)
    if figures is None:
        return row
    model = figures["model"]
    row |= {
        "model": f"{model['name']} {model['version']}",
        "slices": figures["slices"],
        "seconds": figures["wall_s"],
        "warnings": figures.get("warnings", []),
    }
    for label in figures["labels"]:
        row |= {f"{label['name']}_ml": label["ml"], f"{label['name']}_voxels": label["voxels"]}
    return row
