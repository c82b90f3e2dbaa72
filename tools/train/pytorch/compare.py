#!/usr/bin/env python3
"""Measures training against PyTorch eager, slices a second in one interleaved run, and prints a table, or adds it to a file.

    python3 tools/train/pytorch/compare.py --device cuda --batch 16
    python3 tools/train/pytorch/compare.py --device cpu --batch 8 --size 64

Both sides train the same net (the counts of parameters must agree) with AdamW on the same loss, one made-up batch each step, which stays on
the device. PyTorch runs once with its default memory layout and once with channels last, and counts with the faster one; with --compile
also by torch.compile, of which the table has a second ratio. A step of monet-train as in a run, which draws and changes its batch and
averages weights, stands beside and is not compared.

PyTorch 2.11.0 is taken from --python; without it an environment of requirements.txt is set up under MONET_CACHE, default
~/.cache/monet (4.5 GB, as PyPI's is the CUDA build). For CUDA the trainer then loads that PyTorch's libtorch, so that both run the same libraries.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("MONET_CACHE", pathlib.Path.home() / ".cache/monet"))
NETS = ["monet", "unet16"]
LAYOUTS = ["default", "channels last"]
COMPILED = "compiled"
PAUSE = 0.3
"""Seconds between turns: the last side's threads have stopped spinning by then."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--kinds", nargs="+", choices=["f32", "bf16"], default=["f32"], help="element types of activations")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=256, help="side of a slice")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps of each side in a round")
    parser.add_argument("--compile", action="store_true", help="torch.compile beside PyTorch eager")
    parser.add_argument("--python", help="a Python that has torch 2.11.0")
    parser.add_argument("--trainer", type=pathlib.Path, help="built from this checkout when not given")
    parser.add_argument("--host", default=None, help="name of the machine in the table; its CPU's when not given")
    parser.add_argument("--out", type=pathlib.Path, help="file to which the table is added")
    return parser.parse_args()


def environment():
    """The Python of this script's own environment, made on first use."""
    folder = CACHE / "pytorch-2.11.0"
    if not (folder / "complete").exists():
        print(f"setting up {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
        (folder / "complete").touch()
    return str(folder / "bin/python")


def build():
    command = ["cargo", "build", "--release", "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in built.splitlines()]
    return pathlib.Path([m["executable"] for m in messages if m.get("executable")][-1])


class PyTorch:
    """A worker process, see worker.py; waits while others have their turn."""

    def __init__(self, options, net, kind, way):
        sizes = [str(options.threads), kind, str(options.batch), str(options.size), way]
        command = [options.python, HERE / "worker.py", net, options.device, *sizes]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self):
        """What it says of itself when it has started, compiled and taken its first steps."""
        return json.loads(self.process.stdout.readline())

    def turn(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Trainer:
    """`monet-train speed`, started anew each turn."""

    def __init__(self, options, net, kind):
        sizes = {"threads": options.threads, "arch": net, "batch": options.batch, "size": options.size}
        named = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
        self.command = [options.trainer, "--device", options.device, "speed", "--json", *named]
        self.command += ["--bf16"] if kind == "bf16" else []
        self.environment = dict(os.environ)
        if options.device != "cpu":
            where = "import os, torch; print(os.path.join(os.path.dirname(torch.__file__), 'lib'))"
            found = subprocess.run([options.python, "-c", where], check=True, stdout=subprocess.PIPE, text=True).stdout
            self.environment["LD_LIBRARY_PATH"] = found.strip()

    def turn(self, steps):
        command = [*self.command, "--count", str(steps)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=self.environment).stdout)


def ways(options):
    """How PyTorch runs."""
    return [*LAYOUTS, COMPILED] if options.compile else LAYOUTS


def measure(options, net, kind, workers, ready):
    """All turns of a net in a kind."""
    trainer = Trainer(options, net, kind)
    turns = {name: [] for name in [*workers, "same_batch", "as_in_a_run"]}
    for _ in range(options.rounds):
        for way, worker in workers.items():
            time.sleep(PAUSE)
            turns[way].append(worker.turn(options.steps))
        time.sleep(PAUSE)
        found = trainer.turn(options.steps)
        assert found["parameters"] == ready["parameters"], "not the same net"
        for name in ("same_batch", "as_in_a_run"):
            turns[name].append(found[name])
    for worker in workers.values():
        worker.close()
    return {"net": net, "kind": kind, "turns": turns}


def line(measured):
    """A row: medians over rounds, and ratios of medians and of the best turns."""
    turns = measured["turns"]
    median = {name: statistics.median(values) for name, values in turns.items()}
    best = {name: max(values) for name, values in turns.items()}
    rates = [f"{rate:.1f}" for rate in median.values()]
    sides = [LAYOUTS, [COMPILED]] if COMPILED in turns else [LAYOUTS]
    ratios = [[m["same_batch"] / max(m[way] for way in side) for m in (median, best)] for side in sides]
    cells = [measured["net"], measured["kind"], *rates, *(f"**{of_median:.2f}** ({of_best:.2f})" for of_median, of_best in ratios)]
    return f"| {' | '.join(cells)} |"


def table(options, rows, ready):
    info = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    cpu = re.search(r"^model name\s*: (.*)$", info, re.M)
    host = options.host or (cpu[1] if cpu else platform.machine())
    device = f"{options.threads} thread(s)" if options.device == "cpu" else ready["device"]
    compiled = ["torch.compile"] if options.compile else []
    columns = ["net", "kind", "PyTorch eager, default layout", "PyTorch eager, channels last", *compiled, "monet-train, the same step"]
    columns += ["monet-train, as in a run", "ratio (of best rounds)", *(f"ratio to {name}" for name in compiled)]
    return "\n".join([
        f"## {datetime.date.today()}: {host}, {device}, {options.batch} slices of {options.size}×{options.size} a step",
        "",
        f"PyTorch {ready['torch']} under Python {ready['python']}, monet-train with libtorch of the same version;"
        f" medians of {options.rounds} rounds of {options.steps} steps, slices a second.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
        *rows,
        "",
    ])


def main():
    options = arguments()
    options.python = options.python or environment()
    options.trainer = (options.trainer or build()).resolve()
    # All start at once, as compiling takes a minute of one core each; nothing is measured before the last is ready.
    started = [(net, kind, {way: PyTorch(options, net, kind, way) for way in ways(options)}) for net in options.nets for kind in options.kinds]
    ready = [[worker.ready() for worker in workers.values()] for _, _, workers in started]
    rows = []
    for (net, kind, workers), told in zip(started, ready):
        measured = measure(options, net, kind, workers, told[0])
        print(json.dumps(measured), file=sys.stderr, flush=True)
        rows.append(line(measured))
    text = table(options, rows, ready[0][0])
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


main()
