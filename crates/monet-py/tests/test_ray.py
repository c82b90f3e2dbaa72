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

pytest.importorskip("ray")
import monet
import monet.ray

VOLUMES = int(os.environ.get("MONET_RAY_VOLUMES", "60"))
DRIVER_KILLS = int(os.environ.get("MONET_RAY_DRIVER_KILLS", "1"))
WORKER_KILL_S = float(os.environ.get("MONET_RAY_WORKER_KILL_S", "4"))

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
"""


def archive(folder: Path, volumes: int) -> None:
    """Small volumes of noise, in two folders with the same names; the last one is none."""
    noise = numpy.random.default_rng(5)
    for i in range(volumes):
        path = folder / f"site-{i % 2}" / f"{i // 2}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        voxels = noise.integers(0, 500, (24, 24, 6), dtype=numpy.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, numpy.eye(4)), path)
    path.write_bytes(b"no volume")


def workers() -> list[int]:
    """Processes of Ray's that hold a model."""
    found = subprocess.run(["pgrep", "-f", r"^ray::.*_Worker"], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def kill_all(driver: subprocess.Popen) -> None:
    """The driver and its cluster, as a machine that loses its power."""
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    subprocess.run(["pkill", "-9", "-f", r"raylet|gcs_server|^ray::|ray/_private"], check=False)


def test_each_volume_has_one_result_whatever_is_killed(tmp_path):
    archive(tmp_path / "in", VOLUMES)
    command = [sys.executable, "-c", DRIVER, tmp_path / "in", tmp_path / "out"]
    dice, kills = random.Random(3), 0
    for attempt in range(DRIVER_KILLS + 1):
        driver = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        labels = tmp_path / "out/labels"
        count = lambda: len(list(labels.rglob("*.nii.gz")))  # noqa: E731
        # The driver dies when its part of the volumes is done.
        enough = (attempt + 1) * VOLUMES // (DRIVER_KILLS + 1)
        next_kill = time.monotonic() + WORKER_KILL_S
        while driver.poll() is None:
            if attempt < DRIVER_KILLS and count() >= enough:
                kill_all(driver)
                break
            if time.monotonic() > next_kill and (running := workers()):
                os.kill(dice.choice(running), signal.SIGKILL)
                kills, next_kill = kills + 1, time.monotonic() + WORKER_KILL_S
            time.sleep(0.1)
    said = driver.communicate()
    assert driver.returncode == 0, said[1].decode()[-4000:]
    rows = pyarrow.parquet.read_table(tmp_path / "out/figures.parquet").to_pylist()
    assert len(rows) == VOLUMES and len({row["output"] for row in rows}) == VOLUMES
    failed = [row for row in rows if row["status"] != "done"]
    assert len(failed) == 1 and "NIfTI" in failed[0]["error"], failed
    model = monet.Model()
    for row in dice.sample(rows, min(VOLUMES, 40)):
        if row["status"] == "done":
            found = nibabel.load(tmp_path / "out/labels" / row["output"])
            expected = model.segment(row["input"], accept_any=True, preview=False)
            assert numpy.array_equal(numpy.asanyarray(found.dataobj), expected.labels)
            assert row["anterior_ml"] == expected.volumes["anterior"]
    every = list((tmp_path / "out").rglob("*"))
    assert len([path for path in every if path.is_file()]) == 2 * (VOLUMES - 1) + 1, "no leftovers"
    print(f"{VOLUMES} volumes, {kills} workers and {DRIVER_KILLS} drivers killed")


def test_outputs_that_are_not_one_each_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 volumes have the output"):
        monet.ray.segment_archive(["a/t1.nii.gz", "b/t1.nii.gz"], tmp_path)
    with pytest.raises(ValueError, match="below the folder"):
        monet.ray.segment_archive([monet.ray.Volume("a.nii", "../b.nii")], tmp_path)
    table = monet.ray.segment_archive([], tmp_path)
    assert pyarrow.parquet.read_table(table).num_rows == 0
