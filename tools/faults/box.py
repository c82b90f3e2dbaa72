#!/usr/bin/env python3
"""Runs `monet serve` under load and kills it, or lets its system calls fail, again and again; then counts what was lost.

    box.py MONET [--kills N] [--cuts N] [--fsyncs N] [--faults N] [--studies N] [--senders N] [--slow MS] [--seed N]
                 [--keep]

Senders make studies of a few slices and send them by C-STORE until each instance is acknowledged; a peer takes the results.
Meanwhile the service is killed (SIGKILL) at random moments, or the power is cut (killed, and its folder is what fsync made
durable and no more), or it is killed in place of a random fsync and the power is cut a moment after it went on, or a random
system call of it or of its processes fails; and it is started again. When that is over and everything has come to rest:

- every acknowledged instance is there, whole, under a study;
- every study is in `done`, or in `failed` with a reason (after an injected error; after kills alone nothing fails);
- the peer has the results of every study in `done`, and of each study's last case those of all its instances;
- a result that came twice came with the same bytes.

With `--studies` the service is left alone under load until so many studies went through; its memory and open files are
looked at every second, and studies must have been worked on in their order.

Needs Linux 5.5, a C compiler, and Python with pydicom, pynetdicom and numpy.
"""
import argparse, collections, contextlib, fcntl, hashlib, json, os, pathlib, random, shutil, signal, socket, subprocess, sys, tempfile, threading, time

import numpy as np
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import MRImageStorage, SegmentationStorage, SecondaryCaptureImageStorage

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from faults import KINDS

SLICES = 4
REST = 90  # seconds in which everything has to come to rest at the end


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def slice_of(study, series, k):
    """A slice of 32 x 32 voxels of 2 mm, of a blob that the net may or may not take for something."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{k + 1}"
    ds = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, study + ".9"
    ds.PatientName, ds.PatientID, ds.Modality = "Nobody^At^All", "0", "MR"
    ds.SeriesNumber, ds.InstanceNumber = "1", str(k + 1)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 2 * k, 0], [1, 0, 0, 0, 0, -1]
    ds.PixelSpacing, ds.SliceThickness = [2, 2], 2
    ds.Rows = ds.Columns = 32
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    y, x = np.mgrid[:32, :32]
    ds.PixelData = (1000 * np.exp(-((x - 16) ** 2 + (y - 12 - k) ** 2) / 40)).astype("<u2").tobytes()
    return ds


class Peer:
    """Takes results and remembers them."""

    def __init__(self):
        self.got, self.differing, self.lock = {}, [], threading.Lock()
        ae = AE(ae_title="PEER")
        for context in (SegmentationStorage, SecondaryCaptureImageStorage):
            ae.add_supported_context(context, ExplicitVRLittleEndian)
        self.port = free_port()
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)])

    def store(self, event):
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        with self.lock:
            uid = event.request.AffectedSOPInstanceUID
            if self.got.setdefault(uid, digest) != digest:
                self.differing.append(uid)
        return 0


class Sender(threading.Thread):
    """Sends studies; an instance that is not acknowledged is sent again."""

    def __init__(self, number, port, stop, seed):
        super().__init__(daemon=True)
        self.number, self.port, self.stop, self.random = number, port, stop, random.Random(seed + number)
        self.acknowledged, self.studies = {}, []
        self.ae = AE(ae_title=f"SENDER{number}")
        self.ae.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
        self.ae.acse_timeout = self.ae.dimse_timeout = self.ae.network_timeout = 5

    def run(self):
        count = 0
        while not self.stop.is_set():
            count += 1
            study = f"1.2.826.0.1.3680043.8.498.{os.getpid()}.{self.number}.{count}"
            self.studies.append(study)
            left = [slice_of(study, study + ".1", k) for k in range(SLICES)]
            while left:
                left = self.send(left)
                if left:
                    time.sleep(self.random.uniform(0.01, 0.2))
            time.sleep(self.random.uniform(0, 0.4))

    def send(self, left):
        association = self.ae.associate("127.0.0.1", self.port, ae_title="MONET")
        if not association.is_established:
            return left
        for k, ds in enumerate(left):
            try:
                status = association.send_c_store(ds)
            except Exception:
                status = None
            if not status or status.get("Status") != 0:
                association.abort()
                return left[k:]
            self.acknowledged[ds.SOPInstanceUID] = ds.StudyInstanceUID
        association.release()
        return []


class Box:
    def __init__(self, options):
        self.options = options
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="box-"))
        self.peer, self.port = Peer(), free_port()
        self.data, self.log = self.root / "data", open(self.root / "log", "ab")
        self.inject = self.root / "inject"
        subprocess.run(["cc", "-O2", "-o", self.inject, pathlib.Path(__file__).with_name("inject.c")], check=True)
        (self.root / "box.toml").write_text(f"""
folder = "data"
[listen]
address = "127.0.0.1:{self.port}"
ae_titles = ["MONET"]
associations = {options.senders + 4}
per_address = {options.senders + 4}
[study]
quiet_s = 1
count = false
[[rule]]
accept_any = true
outputs = ["seg", "capture"]
[[destination]]
name = "peer"
address = "127.0.0.1:{self.peer.port}"
ae_title = "PEER"
[retry]
first_s = 1
longest_s = 2
[keep]
full_percent = 100
free_mib = 10
""")
        self.process, self.starts = None, 0
        self.shadow = self.root / "shadow"
        self.forgets = options.cuts + options.fsyncs > 0
        if self.forgets:
            self.shadow.mkdir()
            source = pathlib.Path(__file__).with_name("durable.c")
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", self.root / "durable.so", source, "-ldl"], check=True)

    def start(self, fault=None):
        command = [self.options.monet, "serve", "box.toml"]
        if fault:
            command = [self.inject, *map(str, fault), self.root / "count", *command]
        environment = self.environment() if self.forgets else None
        self.process = subprocess.Popen(command, cwd=self.root, stderr=self.log, stdout=self.log, start_new_session=True, env=environment)
        self.starts += 1

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # Where `inject` started the service, the service may end after it. It may not have begun, either.
        with contextlib.suppress(FileNotFoundError), open(self.data / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

    def ended(self, seconds):
        """Waits so long for the service to end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def cut(self):
        """Builds the folder anew of what was durable when the service was killed."""
        self.kill()
        if not self.data.exists():
            return  # The service had not begun.
        root = os.stat(self.root / "data")
        name = next(iter(self.shadow.glob(f"folder-{root.st_ino}-*")), None)
        after = self.root / "after"
        after.mkdir()
        if name:
            self.restore(name.name.removeprefix("folder-"), after)
        shutil.rmtree(self.root / "data")
        shutil.rmtree(self.shadow)
        self.shadow.mkdir()
        after.rename(self.root / "data")
        # What is on the disk after a power cut is durable.
        code = """import os, sys
for folder, _, names in os.walk(sys.argv[1], topdown=False):
    for path in (*(os.path.join(folder, name) for name in names), folder):
        fd = os.open(path, os.O_RDONLY); os.fsync(fd); os.close(fd)"""
        subprocess.run([sys.executable, "-c", code, self.root / "data"], check=True, env=self.environment())

    def restore(self, identity, folder):
        listing = self.shadow / f"folder-{identity}"
        for line in listing.read_text().splitlines() if listing.exists() else ():
            kind, identity, name = line.split(" ", 2)
            if kind == "d":
                (folder / name).mkdir()
                self.restore(identity, folder / name)
            else:
                content = self.shadow / f"file-{identity}"
                (folder / name).write_bytes(content.read_bytes() if content.exists() else b"")

    def environment(self):
        """What makes a program's calls of fsync known."""
        slow = {"DURABLE_SLOW_MS": str(self.options.slow)} if self.options.slow else {}
        return os.environ | slow | {"LD_PRELOAD": str(self.root / "durable.so"), "DURABLE": str(self.shadow)}

    def stage(self, name):
        folder = self.data / name
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".part-")) if folder.exists() else []

    def at_rest(self):
        return not any(self.stage(name) for name in ("incoming", "studies", "waiting", "outgoing"))

    def shortcomings(self, acknowledged, faults):
        """What was promised and is not so."""
        there, cases = collections.defaultdict(set), collections.defaultdict(list)
        for stage in ("done", "failed"):
            for folder in self.stage(stage):
                case = json.loads((folder / "case.json").read_text())
                images = {p.stem: p for p in (folder / "images").iterdir()}
                for uid, path in images.items():
                    try:
                        if dcmread(path).SOPInstanceUID == uid and len(dcmread(path).PixelData) == 2048:
                            there[case["study"]].add(uid)
                    except Exception as error:
                        yield f"{path}: {error}"
                cases[case["study"]].append((folder.name[2:], stage, folder, set(images)))
                if stage == "failed":
                    reason = folder / "reason.txt"
                    if not reason.exists():
                        yield f"{folder}: failed without a reason"
                    elif not faults:
                        yield f"{folder}: failed: {reason.read_text().strip()}"
        for uid, study in acknowledged.items():
            if uid not in there[study]:
                yield f"acknowledged instance {uid} is lost"
        for study, all_of in cases.items():
            _, stage, folder, images = max(all_of)
            wanted = {uid for uid, of in acknowledged.items() if of == study}
            if stage == "done" and not wanted <= images:
                yield f"{folder}: the last case lacks {wanted - images}"
            for _, stage, folder, _ in all_of:
                if stage == "done":
                    for made in json.loads((folder / "results" / "summary.json").read_text())["results"]:
                        uid = dcmread(folder / "results" / made["file"], stop_before_pixels=True).SOPInstanceUID
                        if uid not in self.peer.got:
                            yield f"{folder}: {made['file']} was not delivered"
        for uid in self.peer.differing:
            yield f"result {uid} came twice with different bytes"

    def load(self, senders):
        """Waits until enough studies were sent; samples of resident KiB and open files of the service itself."""
        samples, begun = [], time.monotonic()
        while sum(len(s.studies) for s in senders) < self.options.studies:
            time.sleep(1)
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
            kib = int(status.split("VmRSS:")[1].split()[0])
            threads = int(status.split("Threads:")[1].split()[0])
            files = len(os.listdir(f"/proc/{self.process.pid}/fd"))
            samples.append((kib, files, threads))
            if len(samples) % 60 == 0:
                print(f"{sum(len(s.studies) for s in senders)} studies sent, {len(self.stage('waiting'))} waiting, "
                      f"{len(self.stage('done'))} done, {kib} KiB, {files} files, {threads} threads, {time.monotonic() - begun:.0f} s", flush=True)
        return samples

    def out_of_order(self):
        """Studies that were worked on before one that had been complete earlier."""
        text = (self.root / "log").read_text()
        worked = [line.split("case=")[1].split("-")[1] for line in text.splitlines() if " segmented " in line or " nothing to do " in line]
        return [b for a, b in zip(worked, worked[1:]) if b < a]

    def run(self):
        o, chance, stop = self.options, random.Random(self.options.seed), threading.Event()
        senders = [Sender(k, self.port, stop, o.seed) for k in range(o.senders)]
        self.start()
        for sender in senders:
            sender.start()
        begun = time.monotonic()
        rounds = ["kill"] * o.kills + ["cut"] * o.cuts + ["fsync"] * o.fsyncs + ["fault"] * o.faults
        for k, what in enumerate(rounds):
            if what == "cut":
                time.sleep(chance.uniform(0.3, 2.5))
                self.cut()
                self.start()
            elif what == "fsync":
                self.kill()
                self.start(("fsync", chance.randint(1, 60), "kill"))
                self.ended(3)
                self.kill()
                self.start()
                time.sleep(chance.uniform(0.3, 1.5))
                self.cut()
                self.start()
            elif what == "fault":
                kind = chance.choice([name for name in KINDS if name != "thread"])
                errors = KINDS[kind][1]
                self.kill()
                self.start((kind_calls(kind), int(chance.lognormvariate(4.5, 1.5)) + 1, chance.choice(errors)))
                time.sleep(chance.uniform(1.0, 3.0))
            else:
                time.sleep(chance.uniform(0.05, 1.2))
                self.kill()
                self.start()
            if k % 25 == 24:
                print(f"{k + 1} rounds, {sum(len(s.acknowledged) for s in senders)} instances acknowledged, "
                      f"{len(self.stage('done'))} done, {len(self.stage('failed'))} failed, "
                      f"{len(self.peer.got)} results, {time.monotonic() - begun:.0f} s", flush=True)
        samples = self.load(senders) if o.studies else []
        if not o.studies:
            self.kill()
            self.start()
        stop.set()
        for sender in senders:
            sender.join(60)
        end = time.monotonic() + REST + 1.0 * len(self.stage("waiting"))
        while not self.at_rest() and time.monotonic() < end:
            time.sleep(0.5)
        rested = self.at_rest()
        time.sleep(0.5)
        os.killpg(self.process.pid, signal.SIGTERM)
        ended = self.process.wait(30)
        acknowledged = {uid: study for s in senders for uid, study in s.acknowledged.items()}
        short = list(self.shortcomings(acknowledged, o.faults))
        if o.studies:
            half = samples[len(samples) // 2:]
            for k, what in enumerate(("resident KiB", "open files", "threads")):
                early, late = [sample[k] for sample in samples[:len(samples) // 2]], [sample[k] for sample in half]
                print(f"{what}: at most {max(early)} in the first half, {max(late)} in the second")
            short += [f"study {number} was worked on too late" for number in self.out_of_order()]
        if not rested:
            short.append("not everything came to rest: " + ", ".join(f"{n} {len(self.stage(n))}" for n in ("incoming", "studies", "waiting", "outgoing")))
        if ended != 0:
            short.append(f"SIGTERM ended the service with {ended}")
        studies = {study for s in senders for study in s.studies}
        print(f"{o.kills} kills, {o.cuts} power cuts, {o.fsyncs} kills at an fsync, {o.faults} faults, {len(studies)} studies, {len(acknowledged)} instances acknowledged, "
              f"{len(self.stage('done'))} cases done, {len(self.stage('failed'))} failed, {len(self.peer.got)} results at the peer")
        for line in short[:40]:
            print("SHORT", line)
        print(f"{len(short)} shortcomings")
        if not short and not o.keep:
            shutil.rmtree(self.root)
        else:
            print(self.root)
        return bool(short)


def kind_calls(kind):
    return KINDS[kind][0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("monet", type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--slow", type=int, default=0, help="milliseconds that each sync of a folder takes longer, where the power is cut")
    parser.add_argument("--fsyncs", type=int, default=0)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--studies", type=int, default=0)
    parser.add_argument("--senders", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    sys.exit(Box(parser.parse_args()).run())
