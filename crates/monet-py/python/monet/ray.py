"""Archives larger than a machine, by Ray Data: exactly one result a volume, resumed after kills.

>>> import monet.ray
>>> table = monet.ray.segment_archive(paths, "results/", model="heart.int8.plan")   # doctest: +SKIP

A volume's labels and its figures appear together, complete or not at all. So what is on disk is
done, and nothing else is: what Ray's rows say may be lost with a worker, and is not relied upon.

1. The driver tidies up what killed processes have left, and finds the volumes that are not done.
2. Ray maps them over workers, which write results; a worker loads the model once. Where Ray gives
   up, 1 follows again.
3. The driver makes the table of the figures on disk, once no volume is left to do.
"""

from __future__ import annotations

import functools
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
import ray
import ray.data
import ray.exceptions

import monet
from monet._monet import recover

__all__ = ["Volume", "segment_archive", "volumes_in"]

Path_ = str | os.PathLike[str]

_RETRIES = 2
"""How often Ray gives a worker's volumes to the next one before it gives up."""

_IDLE_ROUNDS = 3
"""After so many rounds in a row that finish no volume, those that are left have failed."""

_NAMING_S = 30.0
"""How long another process may take to name its files."""

_SETTINGS = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Ray's settings for a cluster that is started here, where the environment has none. Workers have
the priority of any other program: Ray's own choice, niceness 15, gives them what others leave. Ray
tells its makers nothing of the use that is made of it, for which it starts a process otherwise."""


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
    :raises monet.ModelError: the model cannot be loaded.
    """
    results = Path(results).absolute()
    jobs = [_job(volume, results) for volume in volumes]
    _check(jobs)
    for folder in (str(results), *_folders(jobs)):
        os.makedirs(folder, exist_ok=True)
    names = list(monet.Model(model).labels.values())
    failed: dict[str, str] = {}
    if jobs:
        _start()
        path = None if model is None else os.path.abspath(model)
        tool = _Tool(path, threads, uuid.uuid4().hex)
        failed = _segment_all(jobs, _Fleet(tool, accept_any, workers))
    jobs.sort(key=lambda job: (job["input"], job["output"]))
    _write([_row(job, failed.get(job["output"])) for job in jobs], names, results / table)
    return results / table


def _start() -> None:
    """Connects to the cluster, or starts one on this machine."""
    if not ray.is_initialized():
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        ray.init(include_dashboard=False)


def _job(volume: Volume | Path_, results: Path) -> dict[str, str]:
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


def _check(jobs: list[dict[str, str]]) -> None:
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


def _segment_all(jobs: list[dict[str, str]], fleet: _Fleet) -> dict[str, str]:
    """Segments what is not done, in as many rounds as it takes; returns errors by outputs.

    Ray gives up blocks, with a volume in them that ends each worker it meets, and sometimes a
    whole round. A later round has only what is not done then, and each volume apart once a round
    has finished none, so that such a volume costs no other.
    """
    failed: dict[str, str] = {}
    left, idle = _left(jobs, failed), 0
    while left:
        reason = "its worker has ended without a result each time"
        try:
            for output, error in fleet.segment(left, apart=idle > 0):
                if error:
                    failed[output] = error
        except ray.exceptions.RayError as error:
            reason = str(error)
        before, left = len(left), _left(left, failed)
        idle = 0 if len(left) < before else idle + 1
        if idle == _IDLE_ROUNDS:
            return failed | {job["output"]: f"not segmented by Ray: {reason}" for job in left}
    return failed


def _left(jobs: list[dict[str, str]], failed: dict[str, str]) -> list[dict[str, str]]:
    """The jobs that are neither done nor have failed."""
    _settle(_folders(jobs))
    return [
        job for job in jobs if job["output"] not in failed and not os.path.isfile(job["labels"])
    ]


class _Tool(NamedTuple):
    """What workers segment with."""

    model: str | None
    threads: int
    call: str
    """Tells one call of :func:`segment_archive` from the next, before which the model's file may
    have changed."""


class _Fleet(NamedTuple):
    """Workers of Ray's, as many as a round needs."""

    tool: _Tool
    accept_any: bool
    workers: int | None

    def segment(self, jobs: list[dict[str, str]], apart: bool) -> Iterator[tuple[str, str]]:
        """Gives the output of each volume that has ended, and an error or "".

        :raises ray.exceptions.RayError: Ray has given up.
        """
        cpus = int(ray.cluster_resources().get("CPU", 1))
        threads = self.tool.threads
        workers = min(len(jobs), self.workers or max(1, cpus // threads))
        # So many blocks that a lost one costs little, and few enough for Ray's own work.
        blocks = len(jobs) if apart else min(len(jobs), max(workers * 4, len(jobs) // 16))
        # Tasks, not actors: they run in the processes that Ray has ready, and in those of the last
        # call. An actor is a new process, which imports Ray first.
        ended = ray.data.from_items(jobs, override_num_blocks=blocks).map(
            _work,  # type: ignore[arg-type]  # Ray takes fn_args for it
            fn_args=(self.tool, self.accept_any),
            compute=ray.data.TaskPoolStrategy(size=workers),
            num_cpus=threads,
            max_retries=_RETRIES,
        )
        # A block that is lost costs no other: what it had is for a further round.
        ended.context.max_errored_blocks = -1
        for row in ended.iter_rows():
            yield row["output"], row["error"]


def _work(job: dict[str, str], tool: _Tool, accept_any: bool) -> dict[str, str]:
    """Makes a result where none is; says where, and what speaks against it or ""."""
    error = ""
    try:
        if not _is_done(job):
            _segment(job, _loaded(tool), accept_any)
    except (monet.MonetError, OSError, ValueError) as raised:
        error = str(raised)
    return {"output": job["output"], "error": error}


@functools.lru_cache(maxsize=1)
def _loaded(tool: _Tool) -> monet.Model:
    """The model, loaded once in a process."""
    return monet.Model(tool.model, threads=tool.threads)


def _segment(job: dict[str, str], model: monet.Model, accept_any: bool) -> None:
    """Labels and figures of a volume. Where another process has made them meanwhile, its own are
    thrown away."""
    try:
        model.segment_file(
            job["input"],
            job["labels"],
            stats=job["figures"],
            series=job["series"] or None,
            accept_any=accept_any,
        )
    except monet.OutputError:
        if not _is_done(job):
            raise


def _is_done(job: dict[str, str]) -> bool:
    """Whether labels are there to stay."""
    if os.path.exists(job["labels"]) or os.path.exists(job["figures"]):
        _settle(_folders([job]))
    return os.path.isfile(job["labels"])


def _folders(jobs: list[dict[str, str]]) -> list[str]:
    """Where results go."""
    return sorted({os.path.dirname(job[kind]) for job in jobs for kind in ("labels", "figures")})


def _settle(folders: list[str]) -> None:
    """Tidies up what killed processes have left, and waits for those that name files just now.

    Files of a process that is killed while it names them go again. So labels which are there
    while a record of their naming is (``.monet-*.undo``) are not there to stay.
    """
    recover(folders)
    end = time.monotonic() + _NAMING_S
    while busy := [folder for folder in folders if any(Path(folder).glob(".monet-*.undo"))]:
        if time.monotonic() > end:
            raise monet.OutputError(f"{busy[0]}: another process has not named its files yet")
        time.sleep(0.05)
        recover(folders)


def _write(rows: list[dict[str, Any]], names: list[str], path: Path) -> None:
    """The table, complete or not at all."""
    schema = [("input", pyarrow.string()), ("output", pyarrow.string())]
    schema += [("status", pyarrow.string()), ("error", pyarrow.string())]
    schema += [("model", pyarrow.string()), ("slices", pyarrow.int64())]
    schema += [("seconds", pyarrow.float64()), ("warnings", pyarrow.list_(pyarrow.string()))]
    for name in names:
        schema += [(f"{name}_ml", pyarrow.float64()), (f"{name}_voxels", pyarrow.int64())]
    made = pyarrow.Table.from_pylist(rows, pyarrow.schema(schema))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            pyarrow.parquet.write_table(made, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _row(job: dict[str, str], error: str | None) -> dict[str, Any]:
    """A volume's columns of the table: its figures from disk."""
    row: dict[str, Any] = {"input": job["input"], "output": job["output"]}
    try:
        if error is None:
            return row | _columns(json.loads(Path(job["figures"]).read_bytes()))
    except (OSError, ValueError) as unread:
        error = f"{job['figures']}: {unread}"
    return row | {"status": "failed", "error": error}


def _columns(figures: dict[str, Any]) -> dict[str, Any]:
    """Columns of a volume that is done."""
    model = figures["model"]
    columns = {
        "status": "done",
        "model": f"{model['name']} {model['version']}",
        "slices": figures["slices"],
        "seconds": figures["wall_s"],
        "warnings": figures.get("warnings", []),
    }
    for label in figures["labels"]:
        columns[f"{label['name']}_ml"] = label["ml"]
        columns[f"{label['name']}_voxels"] = label["voxels"]
    return columns
