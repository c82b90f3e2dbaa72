"""Makes engines believe that the CPU has AVX2 and no more, so that they can be timed as there.

OpenVINO's own switch does not do: under ONEDNN_MAX_CPU_ISA=AVX2 it refuses its int8 nets. So copies of the packages'
libraries get `ud2` in place of each `cpuid`, and a handler answers in the CPU's place (limit.c). All else runs as it is.
"""

import hashlib
import pathlib
import re
import shutil
import subprocess
import sysconfig

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["openvino", "onnxruntime", "ai_edge_litert"]
UNUSED = ["libopenvino_intel_gpu*", "libopenvino_intel_npu*", "libLiteRtWebGpu*"]
"""Libraries for other devices."""


def settings(cache):
    """Environment of a limited engine's process. Copies the packages on first use, in about a minute; `cc` and `objdump` must be there."""
    sources = pathlib.Path(sysconfig.get_paths()["purelib"])
    stamp = hashlib.sha256(b"".join(path.read_bytes() for path in (HERE / "limit.py", HERE / "limit.c", HERE / "requirements.txt")))
    folder = cache / f"limited-{stamp.hexdigest()[:8]}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for package in PACKAGES:
            shutil.copytree(sources / package, folder / package, ignore=shutil.ignore_patterns(*UNUSED))
        found = sum(replaced(path) for path in folder.rglob("*.so*"))
        if found == 0:
            raise ChildProcessError("no cpuid was found in the engines' libraries")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", folder / "limit.so", HERE / "limit.c"], check=True)
        (folder / "complete").touch()
    return {"LD_PRELOAD": str(folder / "limit.so"), "PYTHONPATH": str(folder)}


def replaced(path):
    """Makes each `cpuid` of a library `ud2`; returns how many there were."""
    listed = subprocess.run(["objdump", "-h", "-w", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    # Name, size, address, address when loaded, place in the file.
    lines = re.findall(r"^ *\d+ \S+ +(\w+) +(\w+) +\w+ +(\w+) .*CODE", listed, re.M)
    sections = [[int(number, 16) for number in line] for line in lines]
    code = bytearray(path.read_bytes())
    # Only a disassembler tells the instruction from the same two bytes within another one.
    process = subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE, text=True, errors="replace")
    count = 0
    for line in process.stdout:
        if "\tcpuid" in line:
            address = int(line.split(":")[0], 16)
            size, start, place = next(s for s in sections if s[1] <= address < s[1] + s[0])
            at = address - start + place
            assert code[at : at + 2] == b"\x0f\xa2", f"{path}: no cpuid at {address:#x}"
            code[at : at + 2] = b"\x0f\x0b"
            count += 1
    if process.wait() != 0:
        raise ChildProcessError(f"objdump cannot read {path}")
    if count:
        path.write_bytes(code)
    return count
