#!/usr/bin/env python3
"""Runs `monet segment` with a fault at each system call that it makes, and kills it at random moments.

    faults.py MONET [--input FILE] [--more "--model X.toml"] [--short] [--kills N] [--seed N] [--only TEXT]

Each case begins with a folder of its own: empty, or with an earlier mask, figures and preview, which `--force` replaces. After it:
- the command has ended within its time, by itself, with exit code 0 or 1 (130 or 143 after a signal, 137 after a kill), never by a panic;
- the outputs are the earlier set or the new one, whole; after a kill files of one set may be missing, but never stand beside the other's;
- the next run succeeds, or is refused because all of the new set is there; then the new set is whole, and nothing else is in the folder.
Needs Linux 5.5, a C compiler and this Python's standard library. `--short` takes some seconds; without it all calls are visited.
"""
import argparse, errno, json, os, pathlib, random, shutil, signal, subprocess, sys, tempfile, time

# System calls of one kind, and what can go wrong with them.
KINDS = {
    "read": ("read,readv,pread64", [errno.EIO, errno.EINTR]),
    "write": ("write,writev,pwrite64", [errno.ENOSPC, errno.EIO, errno.EINTR]),
    "open": ("openat,open", [errno.EMFILE, errno.EACCES, errno.EINTR, errno.EOPNOTSUPP]),
    "sync": ("fsync,fdatasync", [errno.EIO, errno.EINTR]),
    "rename": ("rename,renameat,renameat2", [errno.EIO, errno.EPERM, errno.EINVAL, errno.EXDEV]),
    "link": ("link,linkat", [errno.EIO, errno.EPERM, errno.EMLINK]),
    "unlink": ("unlink,unlinkat", [errno.EIO, errno.EPERM]),
    "thread": ("clone,clone3", [errno.EAGAIN]),
    "seek": ("lseek", [errno.EIO]),
    "lock": ("flock", [errno.ENOLCK, errno.EINTR]),
    "mode": ("fchmod,fchown", [errno.EPERM]),
    "stat": ("statx,fstat,newfstatat,stat,lstat", [errno.EIO, errno.EACCES]),
    "list": ("getdents64", [errno.EIO]),
}
# What these answer is asked for again: the run succeeds all the same.
REPEATED = {("read", errno.EINTR), ("write", errno.EINTR), ("open", errno.EINTR), ("sync", errno.EINTR)}
# But not by the system's loader, which starts the process that tries a net.
LOADER = "error while loading shared libraries"
# Calls before and after which the state on the disk differs: killed at each of them.
CHANGES = ["open", "write", "sync", "rename", "link", "unlink", "mode"]
OUTPUTS = ["mask.nii.gz", "stats.json", "preview.png"]
EARLIER = {name: f"earlier {name}".encode() for name in OUTPUTS}
LIMIT = 60  # seconds; a run takes less than one
SOON = 1.0  # seconds from a signal to the end, as promised


class Faults:
    def __init__(self, options):
        self.options, self.cases, self.shortcomings = options, {}, []
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="faults-"))
        self.inject = self.root / "inject"
        source = pathlib.Path(__file__).with_name("inject.c")
        subprocess.run(["cc", "-O2", "-o", self.inject, source], check=True)
        self.folder, self.count = self.root / "case", self.root / "count"
        self.begin(False)
        start = time.monotonic()
        ended = self.command([])
        self.seconds = time.monotonic() - start
        assert ended[0] == 0, f"the command does not run: {ended}"
        self.new = {name: self.told(name) for name in OUTPUTS}

    def begin(self, earlier):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, content in EARLIER.items() if earlier else ():
            (self.folder / name).write_bytes(content)

    def command(self, before, force=False, meanwhile=None):
        """Exit code, standard error and whether it had to be ended. `meanwhile` is told the process."""
        mask, stats, preview = (str(self.folder / name) for name in OUTPUTS)
        command = [*before, self.options.monet, "segment", self.options.input, "-o", mask, "--stats", stats, "--preview", preview]
        command += [*(["--force"] if force else []), *self.options.more.split()]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        if meanwhile:
            meanwhile(process)
        try:
            said = process.communicate(timeout=LIMIT)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[1].decode(errors="replace")
        code = process.returncode
        return (128 - code if code < 0 else code), said.decode(errors="replace")

    def injected(self, kind, at, action, force, **more):
        self.count.write_text("0")
        return self.command([str(self.inject), KINDS[kind][0], str(at), str(action), str(self.count)], force, **more)

    def told(self, name):
        """What an output says, without its times."""
        content = (self.folder / name).read_bytes()
        if name != "stats.json" or content == EARLIER[name]:
            return content
        report = json.loads(content)
        return {key: report[key] for key in ("input", "output", "size", "labels", "slices", "model")}

    def state(self):
        """Of each output: absent, earlier, new or wrong; and what else is in the folder."""
        states = {}
        for name in OUTPUTS:
            try:
                told = self.told(name)
                states[name] = "earlier" if told == EARLIER[name] else "new" if told == self.new[name] else "wrong"
            except FileNotFoundError:
                states[name] = "absent"
            except ValueError:
                states[name] = "wrong"
        return states, sorted(set(os.listdir(self.folder)) - set(OUTPUTS))

    def judge(self, name, ended, earlier, codes, killed=False):
        """Notes what is not as promised."""
        kind = name.split()[0]
        self.cases[kind] = self.cases.get(kind, 0) + 1
        code, said = ended
        states, others = self.state()
        found = set(states.values())
        before = "earlier" if earlier else "absent"
        whole = found == {before} or found == {"new"}
        wrong = []
        if code is None:
            wrong.append("hangs")
        elif code not in codes and LOADER not in said:
            wrong.append(f"exit code {code}")
        if "panicked" in said:
            wrong.append("panic")
        if "wrong" in found or {"earlier", "new"} <= found or not (whole or killed):
            wrong.append(f"outputs {states}")
        if code == 0 and found != {"new"}:
            wrong.append(f"success with {states}")
        again, said_again = self.command([], earlier)
        if again != 0 and not (not earlier and again == 1 and found == {"new"}):
            wrong.append(f"next run: exit code {again}, {said_again.strip()[-200:]}")
        states, others_later = self.state()
        if set(states.values()) != {"new"}:
            wrong.append(f"next run leaves {states}")
        if others_later:
            wrong.append(f"left after the next run: {others_later}")
        if wrong:
            self.shortcomings.append(name)
            print(f"SHORT {name}: {'; '.join(wrong)}; it said: {said.strip()[-300:]}", flush=True)

    def visit(self, calls):
        """The numbers of calls to visit: all, or in the short form two."""
        every = range(1, calls + 1)
        return sorted(random.sample(every, min(2, calls))) if self.options.short else every

    def run(self):
        only = self.options.only
        for earlier in (False, True):
            kept = "over an earlier set" if earlier else "into an empty folder"
            for kind, (_, errors) in KINDS.items():
                self.begin(earlier)
                self.injected(kind, 0, 5, earlier)
                calls = int(self.count.read_text())
                print(f"{kind}: {calls} calls {kept}", flush=True)
                for at in self.visit(calls):
                    actions = errors if not self.options.short else [random.choice(errors)]
                    for error in actions:
                        name = f"{kind} {at} of {calls} fails with {errno.errorcode[error]} {kept}"
                        if only in name:
                            self.begin(earlier)
                            codes = [0] if (kind, error) in REPEATED else [0, 1]
                            self.judge(name, self.injected(kind, at, error, earlier), earlier, codes)
                    name = f"kill at {kind} {at} of {calls} {kept}"
                    if kind in CHANGES and only in name:
                        self.begin(earlier)
                        self.judge(name, self.injected(kind, at, "kill", earlier), earlier, [137], killed=True)
                    name = f"stall at {kind} {at} of {calls} {kept}"
                    if kind != "thread" and only in name and not (self.options.short and random.random() < 0.7):
                        self.stall(name, kind, at, earlier)
            self.kill_at_random(earlier, kept)
        for kind, cases in self.cases.items():
            print(f"{cases:6} {kind}")
        print(f"{sum(self.cases.values())} cases, {len(self.shortcomings)} SHORT (seed {self.options.seed})")
        shutil.rmtree(self.root)
        return not self.shortcomings

    def stall(self, name, kind, at, earlier):
        """A call that does not return, and a signal meanwhile."""
        took = []

        def meanwhile(process):
            # Until the call is there, with some time to spare.
            time.sleep(2 * self.seconds + 0.2)
            start = time.monotonic()
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                pass
            took.append(time.monotonic() - start)

        self.begin(earlier)
        ended = self.injected(kind, at, "stall", earlier, meanwhile=meanwhile)
        # 143 where the command does not listen for signals yet: it has done nothing then.
        self.judge(name, ended, earlier, [0, 130, 143], killed=True)
        if took[0] > SOON + self.options.slack:
            self.shortcomings.append(name)
            print(f"SHORT {name}: ends {took[0]:.2f} s after the signal", flush=True)

    def kill_at_random(self, earlier, kept):
        for i in range(self.options.kills // 2):
            name = f"kill at random, {i + 1} {kept}"
            if self.options.only not in name:
                continue

            def meanwhile(process):
                time.sleep(random.uniform(0, 1.1 * self.seconds))
                os.killpg(process.pid, signal.SIGKILL)

            self.begin(earlier)
            self.judge(name, self.command([], earlier, meanwhile), earlier, [0, 137], killed=True)


def main():
    here = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("monet", help="the binary")
    parser.add_argument("--input", default=str(here / "models/sample/mni152-hippocampus.nii.gz"))
    parser.add_argument("--more", default="", help="more arguments of `monet segment`, as one word")
    parser.add_argument("--short", action="store_true", help="some calls of each kind")
    parser.add_argument("--kills", type=int, default=500, help="at random moments")
    parser.add_argument("--slack", type=float, default=0.5, help="seconds that a busy machine may take longer to end")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    options.monet = os.path.abspath(options.monet)
    random.seed(options.seed)
    sys.exit(0 if Faults(options).run() else 1)


if __name__ == "__main__":
    main()
