#!/usr/bin/env python3
"""Measures the bench net on every CPU runtime in one interleaved run and writes a dated table to benches/compare/runs/.

    python3 benches/compare/compare.py                    # about six minutes, ten more the first time; keep the machine quiet
    python3 benches/compare/compare.py --short            # only that every outside engine loads, runs and agrees
    python3 benches/compare/compare.py --parts            # only what needs the network and a compiler
    python3 benches/compare/compare.py --parts volume     # one part anew, into the day's file

Sets up its own Python environment (pinned in requirements.txt) under MONET_CACHE, default ~/.cache/monet, makes the peers' nets
(see peers.py), and builds monet and, where cargo is there, rten. Each
engine is a process of its own, loaded and warmed up before; turns go round all of them several times, so that what else the
machine does meets all alike. Tables state the median over rounds of each round's median, and the least time of all.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = pathlib.Path(os.environ.get("MONET_CACHE", pathlib.Path.home() / ".cache/monet")) / "compare"
FLOAT = ROOT / "models/bench/monet-256.f32.toml"
INT8 = ROOT / "models/bench/monet-256.int8.toml"
HIPPOCAMPUS = ROOT / "models/hippocampus.int8.toml"
SAMPLE = ROOT / "models/sample/mni152-hippocampus.nii.gz"
SIZE = [256, 256]
PARTS = ["engines", "avx2", "volume", "agreement"]
PINS = ["requirements.txt", "requirements-alone.txt"]
"""Packages of the environment; those of the second file without what they depend on."""
PEERS = {"ncnn": "ncnn", "mnn": "MNN", "litert": "XNNPACK (LiteRT)"}
"""Names, in the tables, of the engines that peers.py makes nets for."""
AGREES = {"f32": 0.98, "int8": 0.8}
"""Least share of labels that equal ONNX Runtime's in f32, for an engine to be timed. A wrong net has half of them; OpenVINO computes
f32 in bf16 where the CPU has it, and int8 costs the bench net, whose weights are random, 5 to 15 %."""
LIMITED = ["OpenVINO", "ONNX Runtime", "XNNPACK (LiteRT)"]
"""Engines that are measured as on a CPU with AVX2 and no more, too."""
PAUSE = 0.15
"""Seconds between turns: the last engine's threads have stopped spinning by then."""


def enter_environment():
    """Goes on in this script's own Python environment, made on first use."""
    pins = b"".join((HERE / name).read_bytes() for name in PINS)
    folder = CACHE / f"python-{hashlib.sha256(pins).hexdigest()[:8]}"
    python = folder / "bin/python"
    if pathlib.Path(sys.prefix) == folder:
        return
    if not (folder / "complete").exists():
        print(f"setting up {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        for name, flags in zip(PINS, ([], ["--no-deps"])):
            subprocess.run([python, "-m", "pip", "install", "-q", *flags, "-r", HERE / name], check=True)
        (folder / "complete").touch()
    os.execv(python, [str(python), __file__, *sys.argv[1:]])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="what to measure; all when not given")
    parser.add_argument("--short", action="store_true", help="no times and no file: whether outside engines load, run and agree")
    parser.add_argument("--monet", type=pathlib.Path, help="binary to measure; built from this checkout when not given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=10, help="most slices of each engine a round; slow ones run fewer, at least 2")
    parser.add_argument("--threads", type=int, default=2, help="threads of the second table")
    parser.add_argument("--host", help="name of the machine in the table and the file's name; its CPU's when not given")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benches/compare/runs")
    return parser.parse_args()


def build():
    command = ["cargo", "build", "--release", "--bin", "monet", "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in built.splitlines()]
    return pathlib.Path(next(m["executable"] for m in messages if m.get("executable")))


class Outside:
    """An engine in a worker process, see worker.py."""

    def __init__(self, name, net, engine, path, threads, way, settings=None, size=(1, *SIZE)):
        self.name, self.net, self.threads, self.way = name, net, threads, way
        command = [sys.executable, HERE / "worker.py", engine, path, str(threads), way, "x".join(map(str, size))]
        environment = {**os.environ, **(settings or {})}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        self.loaded = False

    def load(self):
        """Waits until the net is loaded and warmed up; workers load beside one another."""
        if not self.loaded:
            if not self.process.stdout.readline():
                raise ChildProcessError(f"{self.name} cannot run {self.net}")
            self.loaded = True

    def ask(self, **request):
        self.load()
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def turn(self, slices):
        answer = self.ask(slices=slices)
        milliseconds = [1e3 * s for s in answer["seconds"]]
        rate = len(milliseconds) / answer["wall"]
        return {"median": statistics.median(milliseconds), "min": min(milliseconds), "slices_per_s": rate}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Monet:
    """`monet profile`, started anew each turn: three slices of warm-up, then the measured ones."""

    def __init__(self, name, net, binary, manifest, threads, engine):
        self.name, self.net, self.threads, self.way = name, net, threads, "side"
        self.command = [binary, "profile", manifest, "--threads", str(threads), "--json", "-", *engine]
        self.best = None
        """The turn with the highest measured peak."""

    def turn(self, slices):
        command = [*self.command, "--runs", str(slices)]
        profile = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        if self.best is None or profile["peak_gmac_per_s"] > self.best["peak_gmac_per_s"]:
            self.best = profile
        latency = profile["latency_ms"]
        return {**{k: latency[k] for k in ("median", "min")}, "slices_per_s": profile["slices_per_s"]}

    def load(self):
        pass

    def close(self):
        pass


def kernels(binary):
    """The kernels that this CPU has, fastest first; the scalar oracle is no contestant."""
    known = ["amx", "avx512-vnni", "avx-vnni", "avx2", "sse4.1", "neon-i8mm", "neon-dotprod", "neon-winograd", "neon"]

    def has(kernel):
        command = [binary, "inspect", "--kernel", kernel]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    return [kernel for kernel in known if has(kernel)]


def features():
    """Of the CPU's features, those that matter here."""
    info = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", info, re.M)
    wanted = r"sse4_1|avx2|fma|avx512f|avx512bw|avx512_vnni|avx_vnni|amx_int8|asimd|asimddp|i8mm"
    return [f for f in (flags[1].split() if flags else []) if re.fullmatch(wanted, f)]


def cpu():
    info = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    found = {key: re.search(rf"^{key}\s*: (.*)$", info, re.M) for key in ("model name", "cpu family", "model")}
    name, family, model = (found[key][1] if found[key] else "" for key in found)
    return f"{name or platform.machine()}" + (f" (family {family}, model {model})" if family else "")


def stamped(name, suffix, script):
    """A path in the cache for what `script` makes of the float net; another one where either changes."""
    stamp = hashlib.sha256(FLOAT.with_suffix(".onnx").read_bytes() + (HERE / script).read_bytes()).hexdigest()[:8]
    return CACHE / f"{name}-{stamp}{suffix}"


def outside(short=False):
    """Each outside engine with each of its nets: (name, net, engine of worker.py, path, settings). `short`: but for a net that takes
    minutes to make."""
    import nets
    import peers

    quantized = stamped("monet-256.quantize_static", ".onnx", "nets.py")
    if not quantized.exists():
        nets.quantize_static(FLOAT.with_suffix(".onnx"), quantized.with_suffix(".part"), SIZE)
        quantized.with_suffix(".part").rename(quantized)
    ours, own = "int8, our QDQ file", "int8, ONNX Runtime's quantize_static"
    found = [("ONNX Runtime", "f32", "onnxruntime", FLOAT.with_suffix(".onnx"), {})]
    found += [("ONNX Runtime", "int8, its own quantize_static", "onnxruntime", quantized, {})]
    found += [("OpenVINO", "f32", "openvino", FLOAT.with_suffix(".onnx"), {})]
    found += [("OpenVINO", net, "openvino", path, {}) for net, path in ((ours, INT8.with_suffix(".onnx")), (own, quantized))]
    made = peers.made(FLOAT.with_suffix(".onnx"), SIZE, stamped("peers", "", "peers.py"), short)
    found += [(PEERS[engine], net, engine, path, {}) for (engine, net), path in made.items()]
    library = peers.rten_library(CACHE / "rten")
    if library:
        settings = {"RTEN_BESIDE": str(library)}
        found += [("rten", "f32", "rten", FLOAT.with_suffix(".onnx"), settings)]
        found += [("rten", "int8, our QDQ file, in f32", "rten", INT8.with_suffix(".onnx"), settings)]
    else:
        print("no rten: it is built by cargo, which is not here", file=sys.stderr)
    return found


def probabilities(engine, path, planes, settings=None):
    """What an engine makes of slices."""
    import numpy

    with tempfile.TemporaryDirectory() as folder:
        numpy.save(f"{folder}/in.npy", planes)
        worker = Outside(engine, path.name, engine, path, 1, "split", settings, planes.shape[1:])
        worker.ask(input=f"{folder}/in.npy", output=f"{folder}/out.npy")
        worker.close()
        return numpy.load(f"{folder}/out.npy")


def checked(contestants):
    """A row for each: the share of its labels that equal ONNX Runtime's in f32. An engine that cannot run its net, or makes something
    else of it, ends the run, so that no broken conversion is timed."""
    import nets
    import numpy

    planes = nets.volume(numpy.random.default_rng(4), [*SIZE, 2])[:, None]
    expected = probabilities("onnxruntime", FLOAT.with_suffix(".onnx"), planes)
    rows = []
    for name, net, engine, path, settings in contestants:
        found = probabilities(engine, path, planes, settings)
        equal = float(((found > 0.5) == (expected > 0.5)).mean())
        difference = float(numpy.abs(found - expected).max())
        rows.append({"engine": name, "net": net, "equal_labels": equal, "max_difference": difference})
        print(f"{name}, {net}: {equal:.2%} of labels equal f32's", file=sys.stderr)
        if equal < AGREES[net[:4].strip(",")]:
            sys.exit(f"{name} computes something else of {path}")
    return rows


def contestants(binary, runners, threads):
    """All engines at this number of threads."""
    ways = ["split"] if threads == 1 else ["split", "side"]
    for way in ways:
        for name, net, engine, path, settings in runners:
            yield Outside(name, net, engine, path, threads, way, settings)
    yield Monet("stock tract", "f32", binary, FLOAT, threads, ["--engine", "tract"])
    yield Monet("stock tract", "int8, our QDQ file", binary, INT8, threads, ["--engine", "tract"])
    for kernel in kernels(binary):
        yield Monet(f"monet {kernel}", "int8, our QDQ file", binary, INT8, threads, ["--kernel", kernel])


def milliseconds_alone(name, net, engine, path, settings):
    """Least milliseconds a slice."""
    worker = Outside(name, net, engine, path, 1, "split", settings)
    try:
        return worker.turn(8)["min"]
    finally:
        worker.close()


def fastest(runners):
    """One int8 net of each engine, the fastest alone, beside its f32 one; and the times of all where there is a choice."""
    times, kept = [], []
    for runner in runners:
        rivals = [r for r in runners if r[0] == runner[0] and r[1].startswith("int8")]
        if runner not in rivals or len(rivals) == 1:
            kept.append(runner)
        else:
            times.append({"engine": runner[0], "net": runner[1], "ms": milliseconds_alone(*runner)})
            own = [t for t in times if t["engine"] == runner[0]]
            if len(own) == len(rivals):
                net = min(own, key=lambda t: t["ms"])["net"]
                kept.append(next(r for r in rivals if r[1] == net))
    return kept, times


def engines(binary, args):
    """All engines at one thread and at several, in one interleaved run."""
    import peers

    runners = outside()
    agree = checked(runners)
    runners, times = fastest(runners)
    all = [e for n in (1, args.threads) for e in contestants(binary, runners, n)]
    rows = interleave(all, args.rounds, args.slices)
    profiles = [e.best for e in all if isinstance(e, Monet) and e.threads == 1 and e.best["kernel"]]
    [engine.close() for engine in all]
    return {
        "int8_ms_alone": times,
        "outside": agree,
        "notes": peers.NOTES,
        "peak_gmac_per_s": {p["kernel"]: p["peak_gmac_per_s"] for p in profiles},
        "macs": profiles[0]["macs"],
        "rounds": args.rounds,
        "slices": args.slices,
        "threads": args.threads,
        "rows": rows,
    }


def avx2(binary, args):
    """int8 engines at one thread as on a CPU with AVX2 and no more, in one interleaved run; `None` where the CPU is such a one."""
    import limit

    if not {"avx512f", "avx_vnni"} & set(features()):
        return None
    missing = [tool for tool in ("cc", "objdump") if not shutil.which(tool)]
    if missing:
        print(f"engines are not limited to AVX2: {' and '.join(missing)} would be needed", file=sys.stderr)
        return None
    settings = limit.settings(CACHE)
    runners = [(*runner[:4], settings) for runner in outside(short=True) if runner[0] in LIMITED and runner[1].startswith("int8")]
    agree = checked(runners)
    runners, times = fastest(runners)
    all = [Outside(*runner[:4], 1, "split", settings) for runner in runners]
    all += [Monet("monet avx2", "int8, our QDQ file", binary, INT8, 1, ["--kernel", "avx2"])]
    rows = interleave(all, args.rounds, args.slices)
    [engine.close() for engine in all]
    return {"int8_ms_alone": times, "outside": agree, "rounds": args.rounds, "slices": args.slices, "rows": rows}


def interleave(engines, rounds, slices):
    """A row for each engine: turns go round, each round beginning with another one."""
    [engine.load() for engine in engines]
    turns = {id(engine): [] for engine in engines}
    for round in range(rounds):
        for engine in engines[round % len(engines) :] + engines[: round % len(engines)]:
            time.sleep(PAUSE)
            own = turns[id(engine)]
            # About a second a turn, so that slow engines do not take all of the time.
            count = min(slices, max(2, int(1e3 / own[-1]["median"]))) if own else 2
            own.append(engine.turn(count))
        print(f"round {round + 1} of {rounds}", file=sys.stderr)
    rows = []
    for engine in engines:
        own = turns[id(engine)]
        median = statistics.median(t["median"] for t in own)
        row = {"engine": engine.name, "net": engine.net, "threads": engine.threads, "way": engine.way}
        row |= {"median_ms": median, "min_ms": min(t["min"] for t in own)}
        row["slices_per_s"] = statistics.median(t["slices_per_s"] for t in own)
        row["turns"] = own
        rows.append(row)
    return rows


def segmented(binary, manifest, volume, folder, arguments):
    """Labels of a volume by `monet segment`, and its report."""
    import nets

    mask, stats = folder / "mask.nii", folder / "stats.json"
    command = [binary, "segment", "--accept-any", volume, "-o", mask, "--model", manifest, "--stats", stats, "--force", "--quiet"]
    subprocess.run([*command, *arguments], check=True)
    return nets.read_nifti(mask), json.loads(stats.read_text())


def agreement(binary, folder):
    """Labels of every engine against ONNX Runtime's on the same file; probabilities too, where an engine gives them out."""
    import nets
    import numpy

    def label(p):
        return p.argmax(1) if p.shape[1] > 1 else (p[:, 0] > 0.5).astype(int)

    def row(net, engine, reference, labels, probabilities=None):
        equal = float((labels == label(reference)).mean())
        found = {"net": net, "engine": engine, "equal_labels": equal}
        if probabilities is not None:
            difference = numpy.abs(probabilities - reference)
            found |= {"max_difference": float(difference.max()), "mean_difference": float(difference.mean())}
        return found

    random = numpy.random.default_rng(2)
    sample = nets.read_nifti(SAMPLE).transpose(1, 0, 2)  # Coronal slices, as the net was trained on.
    low, high = numpy.percentile(sample, [0.5, 99.5])
    padded = numpy.zeros((len(sample), 48, 48), numpy.float32)
    padded[:, : sample.shape[1], : sample.shape[2]] = numpy.clip((sample - low) / (high - low), 0, 1)
    rows = []
    for name, manifest, volume in (
        ("hippocampus int8", HIPPOCAMPUS, padded),
        ("bench int8", INT8, nets.volume(random, [*SIZE, 6])),
    ):
        path = manifest.with_suffix(".onnx")
        own = nets.unit_package(manifest, folder)
        nets.write_nifti(folder / "volume.nii", volume)
        planes = nets.beside(volume, manifest)
        reference = probabilities("onnxruntime", path, planes)
        found = probabilities("openvino", path, planes)
        rows.append(row(name, "OpenVINO", reference, label(found), found))
        for engine in [["--engine", "tract"], *(["--kernel", kernel] for kernel in kernels(binary))]:
            labels, _ = segmented(binary, own, folder / "volume.nii", folder, engine)
            rows.append(row(name, "stock tract" if "tract" in engine else f"monet {engine[1]}", reference, labels))
        if manifest == INT8:
            float_reference = probabilities("onnxruntime", FLOAT.with_suffix(".onnx"), planes)
            rows.append(row("bench, int8 against f32", "ONNX Runtime", float_reference, label(reference), reference))
            found = probabilities("openvino", FLOAT.with_suffix(".onnx"), planes)
            rows.append(row("bench f32", "OpenVINO", float_reference, label(found), found))
            labels, _ = segmented(binary, nets.unit_package(FLOAT, folder), folder / "volume.nii", folder, [])
            rows.append(row("bench f32", "stock tract", float_reference, labels))
    return rows


def whole_volume(binary, folder, threads):
    """`monet segment` on a CT of 150 slices of 512x512, at one thread and at several, turn by turn."""
    import nets
    import numpy

    random = numpy.random.default_rng(3)
    unit = nets.volume(random, [512, 512, 10])
    ct = (numpy.concatenate([unit] * 15) * 500 - 200).astype(numpy.int16)
    nets.write_nifti(folder / "ct.nii.gz", ct, 0.8)
    seconds = {1: [], threads: []}
    for _ in range(2):
        for n in seconds:
            time.sleep(PAUSE)
            _, report = segmented(binary, INT8, folder / "ct.nii.gz", folder, ["--threads", str(n)])
            seconds[n].append(report["wall_s"])
    return {"slices": len(ct), "seconds": {str(n): min(s) for n, s in seconds.items()}, "engine": report["engine"],
            "threads": threads, "ratio": min(seconds[1]) / min(seconds[threads]),
            "peak_memory_bytes": report["peak_memory_bytes"]}


def versions(binary, built):
    """Of all that was measured; the commit only of a binary that was built here and now."""
    import importlib.metadata

    def said(*command):
        return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()

    lock = (ROOT / "Cargo.lock").read_text()
    pins = [line.split("==")[0] for name in PINS for line in (HERE / name).read_text().split()]
    return {
        "monet": said(binary, "--version").split()[-1]
        + (f" at {said('git', 'describe', '--always', '--dirty')}" if built else ""),
        "tract": re.search(r'name = "tract-core"\nversion = "(.*)"', lock)[1],
        **{name: importlib.metadata.version(name) for name in pins},
        "rten": re.search(r'name = "rten"\nversion = "(.*)"', (HERE / "rten/Cargo.lock").read_text())[1],
        "python": platform.python_version(),
        "rustc": said("rustc", "--version").split()[1],
        "system": f"{platform.system()} {platform.machine()}",
    }


def markdown(run):
    """The tables that people read."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    out = [f"# {run['date']}, {run['host']}", ""]
    out += [f"{run['cpu']}, {run['cores']} cores; features: {', '.join(run['features'])}.", f"{versions}.", ""]
    out += engine_tables(run["engines"]) if "engines" in run else []
    out += avx2_table(run["avx2"]) if run.get("avx2") else []
    out += volume_line(run["volume"]) if "volume" in run else []
    out += agreement_table(run["agreement"]) if "agreement" in run else []
    return "\n".join(out) + "\n"


def engine_tables(run):
    one = [r for r in run["rows"] if r["threads"] == 1]
    best = next(r for r in one if r["engine"].startswith("monet"))
    peaks = ", ".join(f"{kernel} {peak:.0f}" for kernel, peak in run["peak_gmac_per_s"].items())
    out = [f"One 256x256 slice of `models/bench/monet-256`, {run['macs'] / 1e9:.3f} GMAC; {run['rounds']} interleaved rounds of up to "
           f"{run['slices']} slices. Measured peak of a kernel's multiplying instruction on one core, GMAC/s: {peaks} (Winograd's "
           f"filtering needs fewer products than the net has). Last column: times slower than {best['engine']}.", ""]
    out += [f"- {t['engine']} alone, {t['net']}: {t['ms']:.1f} ms." for t in run["int8_ms_alone"]]
    out += ["", "Of an engine's int8 files above the fastest runs below.", ""]
    out += ["| engine | net | 1 thread: median ms | min ms | slices/s | GMAC/s | slower |", "|---|---|---|---|---|---|---|"]
    for r in one:
        out += [f"| {r['engine']} | {r['net']} | {r['median_ms']:.1f} | {r['min_ms']:.1f} | {r['slices_per_s']:.1f} | "
                f"{run['macs'] / r['median_ms'] / 1e6:.0f} | {r['median_ms'] / best['median_ms']:.2f} |"]
    n = run["threads"]
    out += ["", f"At {n} threads: one slice split over all of them, or {n} slices side by side.", ""]
    out += ["| engine | net | way | ms a slice: median | min | slices/s | of 1 thread |", "|---|---|---|---|---|---|---|"]
    for r in run["rows"]:
        if r["threads"] != 1:
            alone = next(o for o in one if (o["engine"], o["net"]) == (r["engine"], r["net"]))
            out += [f"| {r['engine']} | {r['net']} | {r['way']} | {r['median_ms']:.1f} | {r['min_ms']:.1f} | "
                    f"{r['slices_per_s']:.1f} | {r['slices_per_s'] / alone['slices_per_s']:.2f} |"]
    out += ["", "Labels of outside engines against ONNX Runtime's of the f32 net, two slices; what they run:", ""]
    out += ["| engine | net | equal labels | largest difference of probabilities |", "|---|---|---|---|"]
    out += [f"| {r['engine']} | {r['net']} | {r['equal_labels']:.3%} | {r['max_difference']:.5f} |"
            for r in run["outside"]]
    return out + ["", *(f"- {note}" for note in run["notes"])]


def avx2_table(run):
    ours = run["rows"][-1]
    out = ["", f"As on a CPU with AVX2 and no more (`limit.py`), one thread, {run['rounds']} interleaved rounds of up to {run['slices']} "
           f"slices; last column: times slower than {ours['engine']}.", ""]
    out += [f"- {t['engine']} alone, {t['net']}: {t['ms']:.1f} ms." for t in run["int8_ms_alone"]]
    out += ["", "| engine | net | median ms | min ms | slower |", "|---|---|---|---|---|"]
    out += [f"| {r['engine']} | {r['net']} | {r['median_ms']:.1f} | {r['min_ms']:.1f} | {r['median_ms'] / ours['median_ms']:.2f} |"
            for r in run["rows"]]
    return out


def volume_line(v):
    n = v["threads"]
    return ["", f"`monet segment`, {v['slices']} slices of 512x512 as `.nii.gz`, {v['engine']}: {v['seconds']['1']:.2f} s on one thread, "
            f"{v['seconds'][str(n)]:.2f} s on {n}: {v['ratio']:.2f} times as fast; peak memory {v['peak_memory_bytes'] / 2**20:.1f} MiB."]


def agreement_table(rows):
    out = ["", "Agreement with ONNX Runtime on the same file: share of equal labels, difference of probabilities where an engine gives "
           "them out. The bench net's random weights spread one step of rounding over the whole net, so that two int8 runtimes part "
           "there as far as quantization itself does; the trained net is what counts.", ""]
    out += ["| net | engine | equal labels | largest difference of probabilities | mean |", "|---|---|---|---|---|"]
    for r in rows:
        largest, mean = (f"{r[k]:.5f}" if k in r else "" for k in ("max_difference", "mean_difference"))
        out += [f"| {r['net']} | {r['engine']} | {r['equal_labels']:.4%} | {largest} | {mean} |"]
    return out


def main():
    enter_environment()
    args = arguments()
    if args.short:
        checked(outside(short=True))
        return
    binary = (args.monet or build()).resolve()
    if not args.parts:
        outside()
        return
    slug = re.sub(r"[^a-z0-9]+", "-", cpu().lower()).strip("-")
    run = {"format": 1, "date": datetime.date.today().isoformat(), "host": args.host or slug}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{run['date']}-{run['host']}"
    if path.with_suffix(".json").exists():
        run = json.loads(path.with_suffix(".json").read_text())
    run |= {"cpu": cpu(), "cores": os.cpu_count(), "features": features(), "versions": versions(binary, args.monet is None)}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if "engines" in args.parts:
            run["engines"] = engines(binary, args)
        if "avx2" in args.parts:
            run["avx2"] = avx2(binary, args)
        if "volume" in args.parts:
            run["volume"] = whole_volume(binary, folder, args.threads)
        if "agreement" in args.parts:
            run["agreement"] = agreement(binary, folder)
    path.with_suffix(".json").write_text(json.dumps(run, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(run))
    print(markdown(run))


if __name__ == "__main__":
    main()
