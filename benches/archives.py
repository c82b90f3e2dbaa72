#!/usr/bin/env python3
"""Segments an archive of small volumes by shares of a list, two of whose processes are killed, and by Ray beside shares.

    pip install numpy nibabel
    python3 benches/archives.py MONET shares     # MONET: the command, for example target/release/monet
    python3 benches/archives.py MONET ray        # also ray[data], pyarrow and the package `monet`

`shares`: four processes with a share each; two are killed when a third and when half of the volumes are done, and are
started again. Each volume must have the labels that one undisturbed process gives it, to the byte, and be told once.

`ray`: volumes a second of `monet.ray.segment_archive` on a cluster of one node, from its call to its table, beside
`monet segment` in one process with as many threads, and in as many processes with a thread each: in turns. Ray's workers
have a low priority: where the machine does something else, give all the same by RAY_worker_niceness=0.

Volumes are parts of the sample with noise, 8 slices each: with so few, what a volume costs beside its slices shows most.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import nibabel
import numpy

SAMPLE = Path(__file__).resolve().parents[1] / "models/sample/mni152-hippocampus.nii.gz"
SHARES = 4
SLICES = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("monet", type=Path, help="the command")
    parser.add_argument("what", choices=["shares", "ray"])
    parser.add_argument("--volumes", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of `ray`: volumes or slices at a time")
    parser.add_argument("--rounds", type=int, default=5, help="of `ray`")
    return parser.parse_args()


def make_archive(folder, volumes):
    """Writes the volumes and their list."""
    image = nibabel.load(SAMPLE)
    voxels = numpy.asanyarray(image.dataobj)
    noise = numpy.random.default_rng(1)
    (folder / "in").mkdir()
    paths = []
    for i in range(volumes):
        first = i % (voxels.shape[1] - SLICES)
        part = voxels[:, first : first + SLICES]
        part = part + noise.normal(0, 0.02 * voxels.max(), part.shape)
        path = folder / "in" / f"{i:04}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(part.astype(numpy.int16), image.affine), path)
        paths.append(path)
    (folder / "list").write_text("".join(f"{path}\n" for path in paths))
    return paths


class Results:
    """A folder for labels and one for figures."""

    def __init__(self, folder):
        self.folder, self.labels, self.figures = folder, folder / "labels", folder / "figures"
        self.labels.mkdir(parents=True)
        self.figures.mkdir()

    def start(self, monet, listed, shard="0/1", threads=1, said=subprocess.DEVNULL):
        """A process with a share of the list."""
        command = [monet, "segment", "--list", listed, "--shard", shard, "--skip-done", "--accept-any"]
        command += ["-o", self.labels, "--stats", self.figures, "--threads", str(threads)]
        return subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL)

    def done(self):
        return sum(not name.startswith(".") for name in os.listdir(self.labels))


def end(process):
    if process.wait():
        raise ChildProcessError(f"{process.args}: exit code {process.returncode}")


def shares(monet, folder, volumes):
    """What the processes with shares leave, two of which are killed, against one process's."""
    listed, whole, shared = folder / "list", Results(folder / "whole"), Results(folder / "shared")
    end(whole.start(monet, listed))
    said = open(folder / "said", "ab")
    start = time.monotonic()
    running = [shared.start(monet, listed, f"{k}/{SHARES}", said=said) for k in range(SHARES)]
    for victim, enough in [(1, volumes // 3), (3, volumes // 2)]:
        while shared.done() < enough:
            time.sleep(0.01)
        running[victim].kill()
        running[victim].wait()
        print(f"share {victim}/{SHARES} killed at {shared.done()} volumes")
        running[victim] = shared.start(monet, listed, f"{victim}/{SHARES}", said=said)
    for process in running:
        end(process)
    seconds = time.monotonic() - start
    names = {path.name for path in whole.labels.iterdir()}
    assert names == {path.name for path in shared.labels.iterdir()} and len(names) == volumes, "not a result each"
    differ = [name for name in names if (whole.labels / name).read_bytes() != (shared.labels / name).read_bytes()]
    assert not differ, f"other labels: {differ[:5]}"
    assert len(list(shared.figures.iterdir())) == volumes, "not figures of each"
    lines = (folder / "said").read_text().splitlines()
    told = Counter(line.split(":")[0] for line in lines if " slices in " in line)
    twice = [name for name, count in told.items() if count > 1]
    assert not twice, f"done twice: {twice[:5]}"
    print(f"{volumes} volumes in {seconds:.1f} s: a result each, the labels of one process, none told twice")


def against_ray(monet, folder, paths, threads, rounds):
    """Volumes a second of Ray and of the command, in turns."""
    import ray
    from monet.ray import segment_archive

    ray.init(num_cpus=threads, log_to_driver=False, include_dashboard=False)
    listed = folder / "list"

    def by_ray(results):
        segment_archive(paths, results.folder, accept_any=True)

    def one_process(results):
        end(results.start(monet, listed, threads=threads))

    def processes(results):
        for process in [results.start(monet, listed, f"{k}/{threads}") for k in range(threads)]:
            end(process)

    ways = {
        f"Ray, {threads} workers": by_ray,
        f"`monet segment`, {threads} threads": one_process,
        f"`monet segment`, {threads} processes": processes,
    }
    rates = {name: [] for name in ways}
    for number in range(rounds):
        for place, (name, way) in enumerate(ways.items()):
            results = Results(folder / f"{number}-{place}")
            start = time.monotonic()
            way(results)
            rates[name].append(len(paths) / (time.monotonic() - start))
            assert results.done() == len(paths), name
    found = {name: statistics.median(each) for name, each in rates.items()}
    print(f"| {len(paths)} volumes of {SLICES} slices, medians of {rounds} rounds | volumes a second | Ray's share |")
    print("|---|---|---|")
    first = next(iter(found.values()))
    for name, rate in found.items():
        print(f"| {name} | {rate:.1f} | {first / rate:.2f} |")


def main():
    given = arguments()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        paths = make_archive(folder, given.volumes)
        if given.what == "shares":
            shares(given.monet, folder, given.volumes)
        else:
            against_ray(given.monet, folder, paths, given.threads, given.rounds)


if __name__ == "__main__":
    main()
