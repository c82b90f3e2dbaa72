"""Nets and volumes for compare.py: ONNX Runtime's own quantization, volumes as NIfTI, packages whose intensities are 0 to 1."""

import gzip
import os
import re
import struct

import numpy


def quantize_static(float_net, path, size):
    """Quantizes a float net as ONNX Runtime's users do: prepared, QDQ, u8 activations, i8 weights per channel, 16 slices."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Slices(CalibrationDataReader):
        def __init__(self):
            self.left = calibration(size)

        def get_next(self):
            x = next(self.left, None)
            return None if x is None else {"image": x[None]}

    prepared = f"{path}.prepared.onnx"
    quant_pre_process(float_net, prepared, skip_symbolic_shape=True)
    quantize(
        prepared,
        path,
        Slices(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    os.remove(prepared)


def calibration(size):
    """The 16 slices that every quantizer here sees, each [1, height, width]."""
    random = numpy.random.default_rng(1)
    return (volume(random, [*size, 1]) for _ in range(16))


def volume(random, shape):
    """Smooth random shapes between 0 and 1, [slices, height, width] from [height, width, slices]."""
    height, width, slices = shape
    y, x = numpy.mgrid[:height, :width].astype(numpy.float32) / max(height, width)
    out = numpy.empty((slices, height, width), numpy.float32)
    for z in range(slices):
        value = 0.5
        for _ in range(6):
            fy, fx, phase = random.uniform(2, 40), random.uniform(2, 40), random.uniform(0, 6)
            value = value + 0.18 * numpy.sin(fy * y + fx * x + phase)
        out[z] = numpy.clip(value + 0.02 * random.standard_normal((height, width)), 0, 1)
    return out


def read_nifti(path):
    """Voxels of a little-endian int16, float32 or uint8 NIfTI as float32 [slices, height, width]."""
    raw = open(path, "rb").read()
    raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    dim = struct.unpack_from("<8h", raw, 40)
    datatype = struct.unpack_from("<h", raw, 70)[0]
    offset = int(struct.unpack_from("<f", raw, 108)[0])
    kind = {2: "<u1", 4: "<i2", 16: "<f4"}[datatype]
    count = dim[1] * dim[2] * dim[3]
    return numpy.frombuffer(raw, kind, count, offset).reshape(dim[3], dim[2], dim[1]).astype(numpy.float32)


def write_nifti(path, voxels, spacing=1.0):
    """[slices, height, width] of float32 or int16 in RAS; gzipped where the name says so."""
    slices, height, width = voxels.shape
    datatype, bits = {"float32": (16, 32), "int16": (4, 16)}[voxels.dtype.name]
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, width, height, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, datatype, bits)
    struct.pack_into("<8f", header, 76, 1, spacing, spacing, 1, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[123] = 2
    struct.pack_into("<h", header, 254, 1)
    struct.pack_into("<12f", header, 280, spacing, 0, 0, 0, 0, spacing, 0, 0, 0, 0, 1, 0)
    header[344:348] = b"n+1\0"
    data = bytes(header) + voxels.tobytes()
    open(path, "wb").write(gzip.compress(data, 1) if path.name.endswith(".gz") else data)


def beside(volume, manifest):
    """Each slice between the neighbours that a package's net sees, [slices, planes, height, width]; the last ones stand again beyond the ends."""
    found = re.search(r"^neighbours = (\d+)", manifest.read_text(), re.M)
    side = int(found[1]) if found else 0
    at = numpy.arange(len(volume))
    return numpy.stack([volume[numpy.clip(at + i, 0, len(volume) - 1)] for i in range(-side, side + 1)], 1)


def unit_package(manifest, folder):
    """A package of the same net that takes intensities from 0 to 1, and slices of a volume in RAS, as they are."""
    text = re.sub(r"^orientation = .*", 'orientation = "RAS"', manifest.read_text(), flags=re.M)
    text = re.sub(r"\[normalise\][^\[]*", '[normalise]\nkind = "window"\nlow = 0.0\nhigh = 1.0\n\n', text)
    net = re.search(r'^model = "(.*)"', text, re.M)[1]
    if not (folder / net).exists():
        (folder / net).symlink_to((manifest.parent / net).resolve())
    (folder / manifest.name).write_text(text)
    return folder / manifest.name
