"""An archive on a local Ray cluster of two nodes, whose workers and driver are killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy
import pyarrow.parquet
import pytest
import ray.exceptions

import monet
import monet.ray

VOLUMES = int(os.environ.get("MONET_RAY_VOLUMES", "40"))
DRIVER_KILLS = int(os.environ.get("MONET_RAY_DRIVER_KILLS", "1"))
VOLUMES_A_KILL = int(os.environ.get("MONET_RAY_VOLUMES_A_KILL", "6"))

DRIVER = """
import sys
from ray.cluster_utils import Cluster
import ray
node = {"num_cpus": 2, "object_store_memory": 80 << 20}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.add_node(**node)
ray.init(address=cluster.address, log_to_driver=False)
import monet.ray
volumes = monet.ray.volumes_in(sys.argv[1])
print(monet.ray.segment_archive(volumes, sys.argv[2], accept_any=True), flush=True)
ray.shutdown()
cluster.shutdown()
"""


class Driver:
    """A driver with a cluster of its own: a session of processes, which bears the driver's number."""

    def __init__(self, archive: Path, results: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, archive, results],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | monet.ray._SETTINGS,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """As a machine that loses its power."""
        while found := self.processes():
            for process in found:
                end(process)
            # A process that has ended is listed until its parent asks.
            self.process.poll()
            time.sleep(0.05)

    def processes(self) -> list[int]:
        """The driver's and the cluster's."""

        def session(process: int) -> int | None:
            try:
                return os.getsid(process)
            except ProcessLookupError:
                return None

        all_processes = (int(name) for name in os.listdir("/proc") if name.isdecimal())
        return [process for process in all_processes if session(process) == self.process.pid]

    def workers(self) -> list[int]:
        """Processes that segment."""

        def is_worker(process: int) -> bool:
            try:
                name = Path(f"/proc/{process}/cmdline").read_bytes()
            except OSError:
                return False
            return name.startswith(b"ray::") and b"_work" in name

        return [process for process in self.processes() if is_worker(process)]


def end(process: int) -> None:
    """Kills a process if it is there yet."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass


def archive(folder: Path, volumes: int) -> None:
    """Small volumes of noise, in two folders with the same names; the last one is none."""
    noise = numpy.random.default_rng(5)
    for i in range(volumes):
        path = folder / f"site-{i % 2}" / f"{i // 2}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        voxels = noise.integers(0, 500, (24, 24, 6), dtype=numpy.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, numpy.eye(4)), path)
    path.write_bytes(b"no volume")


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def table_of(results: Path) -> list[dict]:
    return pyarrow.parquet.read_table(results / "figures.parquet").to_pylist()


def test_each_volume_has_one_result_whatever_is_killed(tmp_path):
    inputs, results = tmp_path / "in", tmp_path / "out"
    archive(inputs, VOLUMES)
    dice, kills = random.Random(3), 0
    for attempt in range(DRIVER_KILLS + 1):
        # The driver dies when its part of the volumes is done.
        enough = (attempt + 1) * VOLUMES // (DRIVER_KILLS + 1)
        next_kill = 0
        with Driver(inputs, results) as driver:
            while driver.process.poll() is None:
                done = len(list((results / "labels").rglob("*.nii.gz")))
                if attempt < DRIVER_KILLS and done >= enough:
                    break
                # Counted by volumes, a slow machine gets as far as a fast one.
                if done >= next_kill and (running := driver.workers()):
                    end(dice.choice(running))
                    kills, next_kill = kills + 1, done + VOLUMES_A_KILL
                time.sleep(0.1)
            if attempt == DRIVER_KILLS:
                said = driver.process.communicate()
                assert driver.process.returncode == 0, said[1].decode()[-4000:]
    assert kills > 0, "no worker was there to be killed"
    rows = table_of(results)
    assert len(rows) == VOLUMES and len({row["output"] for row in rows}) == VOLUMES
    failed = [row for row in rows if row["status"] != "done"]
    assert len(failed) == 1 and "NIfTI" in failed[0]["error"], failed
    model = monet.Model()
    for row in rows:
        if row["status"] == "done":
            found = nibabel.load(results / "labels" / row["output"])
            expected = model.segment(row["input"], accept_any=True, preview=False)
            assert numpy.array_equal(numpy.asanyarray(found.dataobj), expected.labels)
            assert row["anterior_ml"] == expected.volumes["anterior"]
    assert len(files_below(results)) == 2 * (VOLUMES - 1) + 1, "no leftovers"
    print(f"{VOLUMES} volumes, {kills} workers and {DRIVER_KILLS} drivers killed")


def test_a_volume_that_ends_its_workers_costs_its_own_row(tmp_path):
    """Ray gives up on it in each round, which loses the round's rows."""
    names = ["a.nii", "b.nii", "ends-its-worker.nii", "c.nii"]
    jobs = [monet.ray._job(monet.ray.Volume(name, name), tmp_path) for name in names]
    for folder in monet.ray._folders(jobs):
        os.makedirs(folder)
    rounds = []

    class Fleet:
        def segment(self, left, apart):
            rounds.append((len(left), apart))
            order = sorted(left, key=lambda job: "ends" in job["output"]) if apart else left
            for job in order:
                if job["output"] == "ends-its-worker.nii":
                    raise ray.exceptions.WorkerCrashedError
                Path(job["labels"]).touch()
                yield job["output"], ""

    failed = monet.ray._segment_all(jobs, Fleet())
    assert list(failed) == ["ends-its-worker.nii"]
    assert "not segmented by Ray" in failed["ends-its-worker.nii"]
    # Volumes in one block wait for one another; apart, the others are done.
    assert rounds == [(4, False), (2, False), (2, True), (1, False), (1, True), (1, True)]


ENDS_ITS_WORKER = """
import os, signal, sys
import monet.ray
work = monet.ray._work

def _work(job, tool, accept_any):
    if job["output"] == "ends-its-worker.nii.gz":
        with open(os.environ["TRIES"], "a") as tries:
            tries.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return work(job, tool, accept_any)

monet.ray._work = _work
volumes = [monet.ray.Volume(path, name) for path, name in zip(sys.argv[2::2], sys.argv[3::2])]
monet.ray.segment_archive(volumes, sys.argv[1], accept_any=True, workers=1)
"""


def test_ray_gives_up_a_volume_that_ends_its_workers(tmp_path):
    """Ray's part of it: the volume is tried three times in each of four rounds, the first of which
    does the one that waits for its only worker."""
    inputs, results, tries = tmp_path / "in", tmp_path / "out", tmp_path / "tries"
    archive(inputs, 4)
    paths = sorted(inputs.rglob("*.nii.gz"))[:2]
    volumes = [paths[0], "ends-its-worker.nii.gz", paths[1], "done.nii.gz"]
    script = [sys.executable, "-c", ENDS_ITS_WORKER, results, *volumes]
    environment = os.environ | {"TRIES": str(tries)}
    subprocess.run(script, env=environment, capture_output=True, check=True, timeout=600)
    status = {row["output"]: row["status"] for row in table_of(results)}
    assert status == {"ends-its-worker.nii.gz": "failed", "done.nii.gz": "done"}
    assert len(tries.read_text()) == (monet.ray._RETRIES + 1) * (monet.ray._IDLE_ROUNDS + 1)


def test_outputs_that_are_not_one_each_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 volumes have the output"):
        monet.ray.segment_archive(["a/t1.nii.gz", "b/t1.nii.gz"], tmp_path)
    with pytest.raises(ValueError, match="below the folder"):
        monet.ray.segment_archive([monet.ray.Volume("a.nii", "../b.nii")], tmp_path)
    table = monet.ray.segment_archive([], tmp_path)
    assert pyarrow.parquet.read_table(table).num_rows == 0
