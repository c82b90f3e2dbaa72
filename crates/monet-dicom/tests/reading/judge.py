"""What pydicom reads from files, for comparison.

judge.py files                  lists the files of pydicom's own test set
judge.py dump OUT [values] < names   of the n-th file: OUT/n.elements, OUT/n.values, OUT/n.error
judge.py htj2k KIND FROM TO     encodes a file as HTJ2K: lossless, rpcl, lossy
judge.py openjpeg FLAGS FROM TO encodes a file as JPEG 2000
judge.py directory NAME        lists the files that a DICOMDIR names
judge.py pack OUT NAME...       writes a zip archive, entries stored and deflated in turn
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence

warnings.simplefilter("ignore")
LONGEST = 64 << 10
SIZES = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4}
SIZES |= {"FD": 8, "OD": 8, "SV": 8, "UV": 8, "OV": 8}


def files():
    root = os.path.join(os.path.dirname(pydicom.__file__), "data")
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            print(os.path.join(folder, name))


def elements(dataset, path=""):
    """A line for each element: where, representation, little-endian bytes."""
    # Reading one element may convert another.
    raws = {tag: dataset.get_item(tag) for tag in sorted(dataset.keys())}
    for tag, raw in raws.items():
        if tag.is_private or (not path and tag.group >= 0x7FE0):
            continue
        element = dataset[tag]
        here = f"{path}{tag.group:04x}{tag.element:04x}"
        if isinstance(element.value, Sequence):
            yield f"{here} SQ {len(element.value)}"
            for n, item in enumerate(element.value):
                yield from elements(item, f"{here}[{n}].")
            continue
        if not isinstance(raw, RawDataElement):
            # Specific Character Set alone is converted at once.
            value = element.value
            text = value if isinstance(value, str) else "\\".join(value or [])
            yield f"{here} {element.VR} text:{text.encode('latin-1').hex()}"
            continue
        value = raw.value or b""
        if len(value) > LONGEST:
            continue
        if not raw.is_little_endian and element.VR in SIZES:
            size = SIZES[element.VR]
            value = b"".join(value[i : i + size][::-1] for i in range(0, len(value), size))
        yield f"{here} {element.VR.replace(' ', '_')} {value.hex()}"


def values(dataset):
    """Stored values, those of a pixel side by side."""
    options = {} if dataset.SamplesPerPixel == 1 else {"as_rgb": False}
    array = np.asarray(pixel_array(dataset, **options)).astype(np.int64)
    stored = int(dataset.BitsStored)
    if dataset.BitsAllocated > 1:
        array = array >> (int(dataset.HighBit) + 1 - stored) & (1 << stored) - 1
        if dataset.PixelRepresentation == 1:
            array = array - ((array >> stored - 1 & 1) << stored)
    return np.ascontiguousarray(array.astype("<i4")).tobytes()


def dump(out, whole):
    for n, name in enumerate(sys.stdin.read().splitlines()):
        base = os.path.join(out, str(n))
        dataset = pydicom.dcmread(name, force=True)
        try:
            lines = list(elements(dataset))
            open(base + ".elements", "w").write("\n".join(lines))
        except Exception as error:
            open(base + ".error", "w").write(f"elements: {error!r}")
            continue
        if "PixelData" not in dataset:
            continue
        try:
            found = values(dataset)
        except Exception as error:
            open(base + ".error", "w").write(f"pixels: {error!r}")
            continue
        if not whole:
            found = hashlib.sha256(found).digest()
        open(base + ".values", "wb").write(found)


def openjpeg(flags, source, target):
    """Encodes with OpenJPEG's command, whose flags choose every part of the standard."""
    dataset = pydicom.dcmread(source)
    array = pixel_array(dataset).astype("<i2")
    rows, columns = array.shape
    stored, sign = int(dataset.BitsStored), "s" if dataset.PixelRepresentation else "u"
    with tempfile.TemporaryDirectory() as folder:
        raw, stream = os.path.join(folder, "a.rawl"), os.path.join(folder, "a.j2k")
        array.tofile(raw)
        form = f"{columns},{rows},1,{max(stored, 9)},{sign}"
        command = ["opj_compress", "-i", raw, "-o", stream, "-F", form, *flags.split()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        encapsulate(dataset, open(stream, "rb").read(), "1.2.840.10008.1.2.4.91", target)


def encapsulate(dataset, stream, syntax, target):
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(target, enforce_file_format=True)


def directory(name):
    for record in pydicom.dcmread(name).DirectoryRecordSequence:
        path = record.get("ReferencedFileID")
        if path:
            print("/".join([path] if isinstance(path, str) else path))


def pack(out, names):
    with zipfile.ZipFile(out, "w") as archive:
        for n, name in enumerate(names):
            method = zipfile.ZIP_STORED if n % 2 else zipfile.ZIP_DEFLATED
            archive.write(name, f"folder/{n}", method)


def htj2k(kind, source, target):
    """Encodes with OpenJPH; the comment of a JPEG 2000 stream does not say in which order."""
    import imagecodecs

    uid = "1.2.840.10008.1.2.4." + {"lossless": "201", "rpcl": "202", "lossy": "203"}[kind]
    dataset = pydicom.dcmread(source)
    array = pixel_array(dataset)
    options = {"reversible": False, "level": 0.001} if kind == "lossy" else {"reversible": True}
    encapsulate(dataset, imagecodecs.htj2k_encode(array, **options), uid, target)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "files":
        files()
    elif command == "dump":
        dump(rest[0], "values" in rest)
    elif command == "openjpeg":
        openjpeg(*rest)
    elif command == "htj2k":
        htj2k(*rest)
    elif command == "directory":
        directory(*rest)
    elif command == "pack":
        pack(rest[0], rest[1:])
