"""Weights as they travel: named tensors in safetensors files and in Flower's records, whole or as
int8 updates.

An int8 update is the difference to weights that both ends hold. Tensors of two or more dimensions
are rounded to int8 with one scale per index of their first axis, largest magnitude / 127; vectors
(batch normalisation's, biases), under 4 % of the values, stay f32. The values of all tensors stand
one after another, in the order of their sorted names, in three arrays, so that the update needs
neither names nor shapes.
"""

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.common.serde import recorddict_to_proto
from safetensors.numpy import load_file, save_file

WHOLE, INT8 = "f32", "int8"


def read(path):
    """Tensors of a file by name, sorted."""
    return dict(sorted(load_file(path).items()))


def write(tensors, path):
    """Writes tensors so that a kill leaves either the old file or the new one."""
    part = path.with_suffix(".part")
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, part)
    part.replace(path)


def is_statistic(name):
    """Whether a tensor is a running statistic of batch normalisation, which is measured, not
    trained."""
    return name.endswith(("/mean", "/var"))


def size(content):
    """Bytes of a message's content as Flower serializes it."""
    return len(recorddict_to_proto(content).SerializeToString())


def same_topology(tensors, expected):
    """Refuses tensors with other names or shapes than those expected, or with values that are no
    numbers."""
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise ValueError(f"tensor {name!r} is on one side only: weights of another topology")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or tensor.dtype != np.float32:
            found, wanted = (f"{t.dtype}{list(t.shape)}" for t in (tensor, expected[name]))
            raise ValueError(
                f"tensor {name!r} is {found}, expected {wanted}: weights of another topology"
            )
        if not np.isfinite(tensor).all():
            raise ValueError(f"tensor {name!r} has values that are no numbers")


def whole(tensors):
    """All tensors as they are."""
    return ArrayRecord(
        {name: Array(np.ascontiguousarray(tensor)) for name, tensor in tensors.items()}
    )


def of_whole(record):
    """The tensors of `whole`."""
    return {name: array.numpy() for name, array in sorted(record.items())}


def update(tensors, base):
    """The difference to `base` in int8."""
    rounded, scales, vectors = [], [], []
    for name, held in sorted(base.items()):
        difference = tensors[name] - held
        if held.ndim < 2:
            vectors.append(difference.ravel())
            continue
        rows = difference.reshape(held.shape[0], -1)
        scale = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
        divisor = np.where(scale > 0, scale, 1)[:, None]
        rounded.append(np.clip(np.rint(rows / divisor), -127, 127).astype(np.int8).ravel())
        scales.append(scale)
    join = lambda parts, kind: np.concatenate(parts) if parts else np.zeros(0, kind)
    return ArrayRecord(
        {
            "int8": Array(join(rounded, np.int8)),
            "scale": Array(join(scales, np.float32)),
            "f32": Array(join(vectors, np.float32)),
        }
    )


def of_update(record, base):
    """`base` with the difference added."""
    kinds = {"int8": np.int8, "scale": np.float32, "f32": np.float32}
    matrices = [held for held in base.values() if held.ndim >= 2]
    vectors = [held for held in base.values() if held.ndim < 2]
    counts = {
        "int8": sum(held.size for held in matrices),
        "scale": sum(held.shape[0] for held in matrices),
        "f32": sum(held.size for held in vectors),
    }
    if record.keys() != kinds.keys():
        raise ValueError(f"an update has the arrays {sorted(kinds)}, found {sorted(record.keys())}")
    values = {name: array.numpy() for name, array in record.items()}
    for name, array in values.items():
        if array.dtype != kinds[name] or array.shape != (counts[name],):
            raise ValueError(
                f"the update has {array.size} values in {name!r}, expected {counts[name]}: weights "
                "of another topology"
            )
    at = dict.fromkeys(kinds, 0)

    def take(name, count):
        at[name] += count
        return values[name][at[name] - count : at[name]]

    tensors = {}
    for name, held in sorted(base.items()):
        if held.ndim < 2:
            difference = take("f32", held.size)
        else:
            rows = held.shape[0]
            difference = take("int8", held.size).reshape(rows, -1) * take("scale", rows)[:, None]
        tensors[name] = held + difference.reshape(held.shape).astype(np.float32)
    return tensors


def sizes(tensors):
    """Bytes that one site receives or sends in a round: whole, and as an int8 update."""
    content = lambda arrays: size(RecordDict({"arrays": arrays}))
    return {WHOLE: content(whole(tensors)), INT8: content(update(tensors, tensors))}
