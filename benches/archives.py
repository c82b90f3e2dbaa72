#!/usr/bin/env python3
"""Segments an archive of small volumes by shares of a list, two of whose processes are killed, and by Ray beside shares.

    pip install numpy nibabel
    python3 benches/archives.py MONET shares     # MONET: the command, for example target/release/monet
    python3 benches/archives.py MONET ray        # also ray[data], pyarrow and the package `monet`

`shares`: four processes with a share each; two are killed when a third and when half of the volumes are done, and are
started again. Each volume must have the labels that one undisturbed process gives it, to the byte, and be told once.

`ray`: volumes a second of `monet.ray.segment_archive` on this machine, beside `monet segment` in one process with as many
threads, and in as many processes with a thread each: in turns, from the start of a process to its end, for Ray to the
table of its first call. So a first call has the start of Python, Ray and its workers in it; a second call, for the same
volumes into another folder, has not. Beside each is the processor time that all its processes have taken.

Volumes are parts of the sample with noise, 8 slices each: with so few, what a volume costs beside its slices shows most.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
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


# A program that segments the archive twice. Says after each call for how long it and its cluster run, and what processor
# time their session of processes has taken.
RAY = """
import os, sys, time
started, threads, listed, *folders = sys.argv[1:]

def processor_s():
    ticks = 0
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = open(f"/proc/{process}/stat").read().rpartition(")")[2].split()
        except OSError:
            continue
        # Session; user, system, and both of children that have ended.
        if int(fields[3]) == os.getpid():
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")

from monet.ray import segment_archive
paths = open(listed).read().splitlines()
for folder in folders:
    segment_archive(paths, folder, accept_any=True, workers=int(threads))
    print("ended", time.time() - float(started), processor_s(), flush=True)
"""


def by_ray(listed, threads, first, second):
    """Seconds and processor seconds of two calls."""
    given = [str(time.time()), str(threads), listed, first.folder, second.folder]
    said = subprocess.run(
        [sys.executable, "-c", RAY, *given], stdout=subprocess.PIPE, text=True, check=True, start_new_session=True
    ).stdout
    ended = [line.split()[1:] for line in said.splitlines() if line.startswith("ended")]
    (wall, work), (wall_both, work_both) = [map(float, each) for each in ended]
    return (wall, work), (wall_both - wall, work_both - work)


def by_command(processes):
    """Seconds and processor seconds until processes have ended that `processes` starts."""

    def work():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    start, before = time.monotonic(), work()
    for process in processes():
        end(process)
    return time.monotonic() - start, work() - before


def against_ray(monet, folder, volumes, threads, rounds):
    """Volumes a second of Ray and of the command, in turns."""
    listed, found = folder / "list", []
    for number in range(rounds):
        made = [Results(folder / f"{number}-{place}") for place in range(4)]
        ray = by_ray(listed, threads, *made[:2])
        one = by_command(lambda: [made[2].start(monet, listed, threads=threads)])
        shared = by_command(lambda: [made[3].start(monet, listed, f"{k}/{threads}") for k in range(threads)])
        assert all(results.done() == volumes for results in made), "not a result each"
        found.append([*ray, one, shared])
        print(f"round {number}: " + ", ".join(f"{wall:.1f} s ({work:.1f})" for wall, work in found[-1]), flush=True)
    ways = [f"Ray, {threads} workers, with its start", f"Ray, {threads} workers, second call"]
    ways += [f"`monet segment`, {threads} threads", f"`monet segment`, {threads} processes"]
    print(f"| {volumes} volumes of {SLICES} slices, medians of {rounds} rounds | volumes a second | of the process with threads | processor ms a volume |")
    print("|---|---|---|---|")
    for place, way in enumerate(ways):
        rate = statistics.median(volumes / each[place][0] for each in found)
        share = statistics.median(each[2][0] / each[place][0] for each in found)
        work = statistics.median(each[place][1] for each in found) * 1000 / volumes
        print(f"| {way} | {rate:.1f} | {share:.2f} | {work:.1f} |")


def main():
    given = arguments()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_archive(folder, given.volumes)
        if given.what == "shares":
            shares(given.monet, folder, given.volumes)
        else:
            against_ray(given.monet, folder, given.volumes, given.threads, given.rounds)


if __name__ == "__main__":
    main()
