"""What emulated machines have in common: `tools/board`, `tools/systemd` and
`tools/emulated-amx` use it.

Ports, programs and their failures, a series of slices as DICOM files, a peer that takes results,
archives that the kernel unpacks as its first root, where packages of Debian are kept, and figures
as text.
"""

import array, gzip, lzma, os, pathlib, socket, struct, subprocess, sys, uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
MILLIMETRES = 64  # of a slice


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def quietly(*command, **more):
    """What a program prints; if it fails, what it says is the shortcoming."""
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", **more)
    if run.returncode != 0:
        said = (run.stderr or run.stdout).strip()
        raise Short(f"{command[0]}: exit code {run.returncode}: {said}")
    return run.stdout


class Short(Exception):
    """What was promised and is not so."""


def cache(name):
    """Where a tool keeps what it fetched once: a folder, which may not be there yet."""
    user = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("MONET_CACHE") or pathlib.Path(user, "monet")) / name


def peer(title, port, folder, mark):
    """DCMTK's storescp, which takes results: `mark`, with #f for a result's name, says that it is
    whole."""
    take = ["storescp", "-q", "-aet", title, "-od", folder, "-xcr", f"touch {mark}", str(port)]
    return subprocess.Popen(take, stderr=subprocess.DEVNULL)


def as_text(found, indent=""):
    """Figures by their names, for people."""
    lines = []
    for name, value in found.items():
        name = name.replace("_", " ")
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", as_text(value, indent + "  ")]
        else:
            shown = f"{value:.1f}" if isinstance(value, float) else value
            lines.append(f"{indent}{name}: {shown}")
    return "\n".join(lines)


def make_series(folder, slices, side):
    """Slices of the sample, which is repeated, as DICOM files."""
    sample = gzip.open(ROOT / "models/sample/mni152-hippocampus.nii.gz").read()
    start = int(struct.unpack_from("<f", sample, 108)[0])
    wide, deep, high = struct.unpack_from("<3h", sample, 42)
    voxels = array.array("h", sample[start : start + 2 * wide * deep * high])
    spacing = MILLIMETRES / side
    at = [int(k * spacing) for k in range(side)]
    study = f"2.25.{uuid.uuid4().int}"  # With what follows, at most 47 characters.
    folder.mkdir()
    for k in range(slices):
        pixels = array.array("h")
        for up in reversed(at):  # Rows go from superior to inferior.
            row = (up % high * deep + k % deep) * wide
            pixels.extend(voxels[row + x % wide] for x in at)
        if sys.byteorder == "big":
            pixels.byteswap()
        (folder / "pixels").write_bytes(pixels.tobytes())
        (folder / "dump").write_text(f"""
(0008,0008) CS [ORIGINAL\\PRIMARY]
(0008,0016) UI [1.2.840.10008.5.1.4.1.1.4]
(0008,0018) UI [{study}.1.{k + 1}]
(0008,0060) CS [MR]
(0008,103e) LO [T1]
(0010,0010) PN [Nobody^At^All]
(0010,0020) LO [0]
(0018,0050) DS [1]
(0018,0088) DS [1]
(0020,000d) UI [{study}]
(0020,000e) UI [{study}.1]
(0020,0011) IS [1]
(0020,0013) IS [{k + 1}]
(0020,0032) DS [0\\{-k}\\{MILLIMETRES}]
(0020,0037) DS [1\\0\\0\\0\\0\\-1]
(0020,0052) UI [{study}.9]
(0020,1208) IS [{slices}]
(0028,0002) US 1
(0028,0004) CS [MONOCHROME2]
(0028,0010) US {side}
(0028,0011) US {side}
(0028,0030) DS [{spacing}\\{spacing}]
(0028,0100) US 16
(0028,0101) US 16
(0028,0102) US 15
(0028,0103) US 1
(7fe0,0010) OW ={folder}/pixels
""")
        quietly("dump2dcm", "-q", "+te", folder / "dump", folder / f"{k + 1:03}.dcm")
    (folder / "pixels").unlink()
    (folder / "dump").unlink()


def archive(path, folders, files):
    """Writes folders, and files as bytes by their names, for the kernel (cpio, format newc)."""
    with open(path, "wb") as out:

        def put(name, mode, data=b"", device=(0, 0)):
            fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
            entry = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
            out.write(entry + b"\0" * (-len(entry) % 4) + data + b"\0" * (-len(data) % 4))

        for folder in folders:
            put(folder, 0o040755)
        put("dev/console", 0o020600, device=(5, 1))
        for name, data in files.items():
            put(name, 0o100755, data)
        put("TRAILER!!!", 0)


def modules(debian, names):
    """Those of the kernel's modules that are there, as files; the others it has built in."""
    files = {}
    for name in names:
        for found in debian.glob(f"lib/modules/*/kernel/**/{name}.ko*"):
            content = found.read_bytes()
            files[f"modules/{name}.ko"] = (
                lzma.decompress(content) if found.suffix == ".xz" else content
            )
    return files
