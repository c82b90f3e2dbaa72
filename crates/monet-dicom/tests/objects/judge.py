"""Judges objects with programs that others wrote; ends with an error where one finds fault.

    judge.py dump FOLDER          says what a series' slices are, for the test to build objects
    judge.py seg FOLDER...        FOLDER holds seg.dcm and what the test expects of it
    judge.py labelmap FOLDER...   labelmap.dcm
    judge.py rtstruct FOLDER...   rtstruct.dcm
    judge.py report FOLDER...     report.dcm
    judge.py capture FOLDER...    capture.dcm
    judge.py same_frames FILE FOLDER   FOLDER holds what the reader found in a segmentation
    judge.py same_mask FILE PLANES     PLANES is what the reader found in a structure set
"""

import json
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy
import pydicom

class Fault(Exception):
    """Why an object is not right."""


def fail(why):
    raise Fault(why)


def check(condition, why):
    if not condition:
        fail(why)


class Expected:
    """What a test expects: labels, slices, segments."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.size = [int(n) for n in (self.folder / "size").read_text().split()]
        labels = numpy.frombuffer((self.folder / "labels").read_bytes(), numpy.uint8)
        self.labels = labels.reshape(self.size)
        lines = (self.folder / "slices").read_text().splitlines()
        self.slices = [line.split("\t") for line in lines]
        lines = (self.folder / "segments").read_text(encoding="utf-8").splitlines()
        self.segments = [line.split("\t") for line in lines]
        self.values = [int(value) for value, _ in self.segments]

    def numbers(self, field):
        texts = [line[field].replace("\\\\", "\\") for line in self.slices]
        return [[float(n) for n in text.split("\\")] for text in texts]

    def is_sheared(self):
        """Whether slices are shifted against each other: by a tilted gantry."""
        positions, orientation = numpy.array(self.numbers(3)), numpy.array(self.numbers(4))[0]
        shift = numpy.ptp(positions @ orientation.reshape([2, 3]).T, axis=0)
        return shift.max() > 0.01

    def is_axial_grid(self):
        positions, orientation = numpy.array(self.numbers(3)), numpy.array(self.numbers(4))[0]
        steps = numpy.diff(positions[:, 2])
        axial = numpy.abs(orientation - [1, 0, 0, 0, 1, 0]).max() < 1e-4
        return axial and len(steps) > 0 and numpy.ptp(steps) < 1e-3

    def points(self, slice_, row, column):
        """Places in the patient, of arrays of indices."""
        position = numpy.array(self.numbers(3))[slice_]
        orientation = numpy.array(self.numbers(4))[slice_]
        spacing = numpy.array(self.numbers(5))[slice_]
        along_row = orientation[:, :3] * (column * spacing[:, 1])[:, None]
        along_column = orientation[:, 3:] * (row * spacing[:, 0])[:, None]
        return position + along_row + along_column


def dciodvfy(path, allowed=()):
    """The errors of dciodvfy, which are faults, and its warnings, which are shown."""
    if shutil.which("dciodvfy") is None:
        print("skipped: dciodvfy is not installed (Debian: dicom3tools)")
        return
    ran = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace")
    lines = (ran.stdout + ran.stderr).splitlines()
    lines = [line for line in lines if not any(text in line for text in allowed)]
    errors = [line for line in lines if line.startswith("Error")]
    for line in lines:
        print(f"{path.parent.name}: dciodvfy: {line}")
    check(not errors, "dciodvfy finds errors:\n" + "\n".join(errors))


def by_pydicom(path, expected):
    """Labels, rebuilt from frames by their references; positions, byte for byte."""
    data = pydicom.dcmread(path)
    pixels = data.pixel_array.reshape([-1, *expected.size[1:]])
    check(len(pixels) == data.NumberOfFrames, "number of frames")
    label_map = data.SegmentationType == "LABELMAP"
    place = {(line[1], int(line[2])): i for i, line in enumerate(expected.slices)}
    found = numpy.zeros(expected.size, numpy.uint8)
    seen = []
    for pixel, groups in zip(pixels, data.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        number = int(source.get("ReferencedFrameNumber", 0))
        slice_ = place[source.ReferencedSOPInstanceUID, number]
        line = expected.slices[slice_]
        check(source.ReferencedSOPClassUID == line[0], "SOP class of a source image")
        if "FrameOfReferenceUID" in data:
            shared = data.SharedFunctionalGroupsSequence[0]
            where = groups.PlanePositionSequence[0].get_item("ImagePositionPatient").value
            where = where if isinstance(where, bytes) else str(where).encode()
            plane = groups if "PlaneOrientationSequence" in groups else shared
            turned = plane.PlaneOrientationSequence[0].get_item("ImageOrientationPatient").value
            for found_bytes, text in [(where, line[3]), (turned, line[4])]:
                text = text.replace("\\\\", "\\")
                if all(len(number) <= 16 for number in text.split("\\")):
                    same = found_bytes.rstrip(b" ") == text.rstrip(" ").encode()
                    check(same, f"{found_bytes} for {text}")
        else:
            check("PlanePositionSequence" not in groups, "a position without frame of reference")
        if label_map:
            found[slice_] = pixel
            seen.append((slice_,))
        else:
            number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            found[slice_][pixel == 1] = expected.values[number - 1]
            seen.append((number, slice_))
    check((found == expected.labels).all(), "labels of frames")
    check(seen == sorted(set(seen)), "order of frames")
    contents = [g.FrameContentSequence[0] for g in data.PerFrameFunctionalGroupsSequence]
    ranks = [list(numpy.atleast_1d(content.DimensionIndexValues)) for content in contents]
    slices = sorted({entry[-1] for entry in seen})
    expected_ranks = [[*entry[:-1], slices.index(entry[-1]) + 1] for entry in seen]
    check(ranks == expected_ranks, f"dimension index values {ranks} for {expected_ranks}")
    instances = data.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    named = [instance.ReferencedSOPInstanceUID for instance in instances]
    check(set(named) == {expected.slices[s][1] for s in slices}, "referenced instances")
    check(len(named) == len(set(named)), "referenced instances twice")
    if not label_map:
        numbers = [segment.SegmentNumber for segment in data.SegmentSequence]
        check(numbers == list(range(1, len(expected.values) + 1)), "segment numbers")


def by_highdicom(path, expected):
    import highdicom

    data = highdicom.seg.segread(path)
    check(len(data.segment_numbers) == len(expected.values), "number of segments")
    if "FrameOfReferenceUID" not in data:
        return
    uids = [line[1] for line in expected.slices]
    options = {
        "combine_segments": True,
        "assert_missing_frames_are_empty": True,
        "ignore_spatial_locations": True,
    }
    if expected.slices[0][2] == "0":
        found = data.get_pixels_by_source_instance(uids, **options)
    else:
        frames = [int(line[2]) for line in expected.slices]
        found = data.get_pixels_by_source_frame(uids[0], frames, **options)
    numbers = {0: 0, **{i + 1: value for i, value in enumerate(expected.values)}}
    if data.SegmentationType != "LABELMAP":
        found = numpy.vectorize(numbers.get, otypes=[numpy.uint8])(found)
    check((found == expected.labels).all(), "highdicom's labels")
    for number, (_, label) in zip(data.segment_numbers, expected.segments, strict=True):
        description = data.get_segment_description(number)
        if label.isascii():
            check(description.segment_label == label, "highdicom's segment label")
        check(description.algorithm_identification is not None, "algorithm identification")
    print("highdicom agrees")


def by_dcmqi(path, expected):
    """Labels, found by their places in the patient."""
    import SimpleITK

    data = pydicom.dcmread(path, stop_before_pixels=True)
    if "FrameOfReferenceUID" not in data or expected.is_sheared():
        # An ITK image has no shear, and dcmqi refuses what needs one.
        return
    tool = Path(sys.executable).parent / "segimage2itkimage"
    with tempfile.TemporaryDirectory() as folder:
        command = [tool, "--inputDICOM", path, "--outputDirectory", folder]
        command += ["--mergeSegments", "-t", "nrrd", "-p", "x"]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
        images = sorted(Path(folder).glob("*.nrrd"))
        if not images:
            fail("dcmqi: " + ran.stdout[-1500:] + ran.stderr[-1500:])
        image = SimpleITK.ReadImage(str(images[0]))
        check(len(images) == 1, f"dcmqi makes {len(images)} images")
    voxels = SimpleITK.GetArrayFromImage(image)
    where = numpy.nonzero(expected.labels)
    numbers = {value: i + 1 for i, value in enumerate(expected.values)}
    label_map = data.SegmentationType == "LABELMAP"
    check((voxels != 0).sum() == len(where[0]), "dcmqi's number of voxels")
    axes = numpy.reshape(image.GetDirection(), [3, 3]) * image.GetSpacing()
    offsets = expected.points(*where) - image.GetOrigin()
    at = numpy.linalg.solve(axes, offsets.T).T
    near = at.round().astype(int)
    check(numpy.abs(at - near).max(initial=0) < 0.02, "dcmqi's grid")
    check((near >= 0).all() and (near < image.GetSize()).all(), "dcmqi's extent")
    wanted = expected.labels[where]
    if not label_map:
        wanted = numpy.array([numbers.get(value, 0) for value in range(256)])[wanted]
    check((voxels[tuple(near.T[::-1])] == wanted).all(), "dcmqi's labels")
    print("dcmqi agrees")


def dice(found, expected):
    return 2 * (found & expected).sum() / max(1, found.sum() + expected.sum())


def write_source(expected, folder):
    """The source's slices as files with empty pixels, which readers of contours want."""
    for index, (class_uid, uid, *_) in enumerate(expected.slices):
        data = pydicom.Dataset()
        data.SOPClassUID, data.SOPInstanceUID = class_uid, uid
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.826.0.1.1", "1.2.826.0.1.1.4"
        data.FrameOfReferenceUID, data.Modality = "1.2.826.0.1.1.9", "CT"
        data.PatientID = data.PatientName = "x"
        data.InstanceNumber = index + 1
        data.ImagePositionPatient = expected.numbers(3)[index]
        data.ImageOrientationPatient = expected.numbers(4)[index]
        data.PixelSpacing = expected.numbers(5)[index]
        data.SliceThickness = 1
        data.Rows, data.Columns = expected.size[1:]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.RescaleIntercept, data.RescaleSlope = 0, 1
        data.PixelData = bytes(2 * data.Rows * data.Columns)
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.save_as(Path(folder) / f"{index:04}.dcm", enforce_file_format=True)


def in_pixels(expected, slice_, points):
    """Places in the patient as columns and rows of a slice, and how far they are off it."""
    orientation = numpy.array(expected.numbers(4)[slice_]).reshape([2, 3])
    between_rows, between_columns = expected.numbers(5)[slice_]
    offset = points - expected.numbers(3)[slice_]
    off = numpy.abs(offset @ numpy.cross(*orientation)).max()
    column, row = orientation @ offset.T / [[between_columns], [between_rows]]
    return column, row, off


def by_even_odd(path, expected):
    """Contours filled by their pixel centres: exactly the labels."""
    import skimage.draw

    data = pydicom.dcmread(path)
    place = {(line[1], int(line[2])): i for i, line in enumerate(expected.slices)}
    names = [region.ROIName for region in data.StructureSetROISequence]
    labels = [label for _, label in expected.segments]
    for name, label in zip(names, labels, strict=True):
        check(name == label or not label.isascii(), f"region {name} for {label}")
    for value, region in zip(expected.values, data.ROIContourSequence, strict=True):
        found = numpy.zeros(expected.size, bool)
        for contour in region.get("ContourSequence", []):
            check(contour.ContourGeometricType == "CLOSED_PLANAR", "type of contour")
            points = numpy.reshape(numpy.array(contour.ContourData, float), [-1, 3])
            check(len(points) == contour.NumberOfContourPoints, "number of contour points")
            image = contour.ContourImageSequence[0]
            frame = int(image.get("ReferencedFrameNumber", 0))
            slice_ = place[image.ReferencedSOPInstanceUID, frame]
            column, row, off = in_pixels(expected, slice_, points)
            check(off < 0.001, f"a contour is {off} mm off its slice")
            filled = skimage.draw.polygon(row, column, expected.size[1:])
            found[slice_][filled] ^= True
        check((found == (expected.labels == value)).all(), f"contours of {value} filled")
    images = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    images = images.RTReferencedSeriesSequence[0].ContourImageSequence
    uids = [image.ReferencedSOPInstanceUID for image in images]
    check(uids == list(dict.fromkeys(line[1] for line in expected.slices)), "contour images")
    print("pydicom and scikit-image agree")


def by_rt_utils(path, expected, folder):
    import rt_utils

    reader = rt_utils.RTStructBuilder.create_from(folder, str(path))
    order = [image.SOPInstanceUID for image in reader.series_data]
    place = [order.index(line[1]) for line in expected.slices]
    for value, name in zip(expected.values, reader.get_roi_names(), strict=True):
        wanted = expected.labels == value
        if wanted.any():
            found = reader.get_roi_mask_by_name(name).transpose([2, 0, 1])[place]
            same = dice(found, wanted)
            check(same >= 0.98, f"rt-utils' Dice of {name}: {same}")
    print("rt-utils agrees")


def by_plastimatch(path, expected, source):
    import SimpleITK

    if shutil.which("plastimatch") is None:
        print("skipped: plastimatch is not installed (Debian: plastimatch)")
        return
    with tempfile.TemporaryDirectory() as folder:
        command = ["plastimatch", "convert", "--input", path, "--referenced-ct", source]
        command += ["--output-ss-img", folder + "/sets.nrrd", "--output-ss-list", folder + "/list"]
        subprocess.run(command, check=True, capture_output=True)
        sets = SimpleITK.ReadImage(folder + "/sets.nrrd")
        names = Path(folder, "list").read_text(errors="replace").splitlines()
        check(len(names) == len(expected.values), f"plastimatch's structures: {names}")
    voxels = SimpleITK.GetArrayFromImage(sets)
    voxels = voxels.reshape([*voxels.shape[:3], -1])
    for value, (bit, _, name) in zip(expected.values, [line.split("|") for line in names]):
        wanted = expected.labels == value
        if wanted.any():
            found = voxels[..., int(bit) // 8] >> (int(bit) % 8) & 1 == 1
            same = dice(found, wanted)
            check(same >= 0.98, f"plastimatch's Dice of {name}: {same}")
    print("plastimatch agrees")


def dump(folder):
    """A series in order of position: elements of the first, then the slices."""
    files = [pydicom.dcmread(path) for path in sorted(Path(folder).glob("*.dcm"))]
    normal = numpy.cross(*numpy.reshape(files[0].ImageOrientationPatient, [2, 3]).astype(float))
    files.sort(key=lambda file: normal @ numpy.array(file.ImagePositionPatient, float))

    def value(file, name):
        tag = pydicom.tag.Tag(name)
        return raw_bytes[id(file)].get(tag, b"").hex()

    raw_bytes = {}
    for file in files:
        path = file.filename
        plain = pydicom.dcmread(path, stop_before_pixels=True)
        raw_bytes[id(file)] = {
            e.tag: e.value for e in plain._dict.values() if isinstance(e.value, bytes)
        }
    first = pydicom.dcmread(files[0].filename, stop_before_pixels=True)
    for tag in sorted(first._dict):
        element = first._dict[tag]
        if isinstance(element.value, bytes) and element.VR != "SQ":
            known = pydicom.datadict.dictionary_has_tag(tag)
            vr = element.VR or (pydicom.datadict.dictionary_VR(tag) if known else "UN")
            vr = vr if len(vr) == 2 else "UN"
            number = [f"{tag.group:04x}", f"{tag.element:04x}"]
            print("element", *number, vr, element.value.hex(), sep="\t")
    names = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"]
    for file in files:
        values = [value(file, name) for name in names]
        print("slice", file.SOPClassUID, file.SOPInstanceUID, *values, sep="\t")


def seg(folder):
    expected, path = Expected(folder), Path(folder) / "seg.dcm"
    dciodvfy(path)
    by_pydicom(path, expected)
    by_highdicom(path, expected)
    by_dcmqi(path, expected)


def labelmap(folder):
    """A label map, which dciodvfy sees as a segmentation: it knows no label maps."""
    expected, path = Expected(folder), Path(folder) / "labelmap.dcm"
    other = Path(folder) / "other.dcm"
    classes = [b"1.2.840.10008.5.1.4.1.1.66.7", b"1.2.840.10008.5.1.4.1.1.66.4"]
    other.write_bytes(path.read_bytes().replace(*classes))
    differences = [
        "Unrecognized enumerated value <LABELMAP>",
        "Value is zero for value 1 of attribute <Segment Number>",
        "SegmentNumber not monotonically increasing from one by one",
        "Required Element=<SegmentIdentificationSequence>",
    ]
    dciodvfy(other, differences)
    by_pydicom(path, expected)
    by_highdicom(path, expected)
    by_dcmqi(path, expected)


def rtstruct(folder):
    expected, path = Expected(folder), Path(folder) / "rtstruct.dcm"
    dciodvfy(path)
    by_even_odd(path, expected)
    if expected.slices[0][2] != "0":
        # The other readers know no multi-frame images.
        return
    with tempfile.TemporaryDirectory() as source:
        write_source(expected, source)
        # rt-utils takes rows for columns, and their spacings for each other's.
        between_rows, between_columns = expected.numbers(5)[0]
        if expected.size[1] == expected.size[2] and between_rows == between_columns:
            by_rt_utils(path, expected, source)
        # Neither tilted nor sagittal, nor with gaps, which plastimatch's grid has not.
        if expected.is_axial_grid():
            by_plastimatch(path, expected, source)


def near(found, wanted):
    return len(found) == len(wanted) and numpy.allclose(found, wanted, rtol=1e-12, atol=0)


def report(folder):
    """Numbers of a report: by highdicom, whose reader checks the template, and by dcmqi."""
    import highdicom

    expected, path = Expected(folder), Path(folder) / "report.dcm"
    dciodvfy(path)
    lines = (Path(folder) / "measurements").read_text().splitlines()
    wanted = [[float(n) for n in line.split("\t")] for line in lines]
    data = highdicom.sr.srread(path)
    groups = data.content.get_volumetric_roi_measurement_groups()
    check(len(groups) == len(wanted), "number of groups")
    segmentation = pydicom.dcmread(Path(folder) / "seg.dcm", stop_before_pixels=True)
    for index, (group, numbers) in enumerate(zip(groups, wanted)):
        found = [(m.name.meaning, m.value, m.unit.value) for m in group.get_measurements()]
        check(near([value for _, value, _ in found], numbers), f"{found} for {numbers}")
        check(found[0][0] == "Volume" and found[0][2] == "mm3", "volume")
        segment = group.reference_type
        check(segment.value == "121191", f"reference is {segment}")
        reference = [i for i in group[0].ContentSequence if i.name.value == "121191"][0]
        reference = reference.ReferencedSOPSequence[0]
        check(reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID, "segmentation")
        check(reference.ReferencedSegmentNumber == index + 1, "segment number")
        described = segmentation.SegmentSequence[index]
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        check(group.finding_type.value == kind.CodeValue, "finding")
        label = expected.segments[index][1]
        check(group.tracking_identifier == label or not label.isascii(), "tracking identifier")
    series = data.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    check(series[0].SeriesInstanceUID == segmentation.SeriesInstanceUID, "evidence")
    print("highdicom agrees")
    tool = Path(sys.executable).parent / "tid1500reader"
    with tempfile.TemporaryDirectory() as out:
        command = [tool, "--inputDICOM", path, "--outputMetadata", out + "/report.json"]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace")
        check(ran.returncode == 0, "dcmqi: " + ran.stdout[-1500:] + ran.stderr[-1500:])
        read = json.loads(Path(out, "report.json").read_text(errors="replace"))
    found = [
        [float(item["value"]) for item in group["measurementItems"]]
        for group in read["Measurements"]
    ]
    check(len(found) == len(wanted), f"dcmqi's groups: {found}")
    same = all(near(a, b) for a, b in zip(sorted(found), sorted(wanted)))
    check(same, f"dcmqi's numbers: {found} for {wanted}")
    print("dcmqi agrees")


def capture(folder):
    path = Path(folder) / "capture.dcm"
    dciodvfy(path)
    data = pydicom.dcmread(path)
    wanted = numpy.frombuffer((Path(folder) / "picture").read_bytes(), numpy.uint8)
    check((data.pixel_array.ravel() == wanted).all(), "picture")


def same_frames(file, folder):
    """Planes in order of their positions, of the one segment of a segmentation."""
    data = pydicom.dcmread(file)
    shared = data.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    normal = numpy.cross(*numpy.reshape(shared.ImageOrientationPatient, [2, 3]).astype(float))
    groups = data.PerFrameFunctionalGroupsSequence
    positions = [g.PlanePositionSequence[0].ImagePositionPatient for g in groups]
    positions = numpy.array(positions, float)
    order = numpy.argsort(positions @ normal)
    pixels = data.pixel_array.reshape([-1, data.Rows, data.Columns])[order]
    wanted = 2 * pixels.astype(int) >= data.get("MaximumFractionalValue", 1)
    found = numpy.frombuffer(Path(folder, "planes").read_bytes(), numpy.uint8)
    check((found.reshape(wanted.shape) == wanted).all(), "planes")
    check(wanted.any(), "an empty mask proves nothing")
    found = numpy.loadtxt(Path(folder, "positions"), ndmin=2)
    check(numpy.abs(found - positions[order]).max() < 1e-9, "positions")


def same_mask(file, planes):
    import SimpleITK

    image = SimpleITK.ReadImage(file)
    wanted = SimpleITK.GetArrayFromImage(image) != 0
    found = numpy.frombuffer(Path(planes).read_bytes(), numpy.uint8).reshape(wanted.shape) != 0
    same = dice(found, wanted)
    print(f"{Path(file).name}: Dice {same:.6f}, {(found != wanted).sum()} voxels differ")
    check(same >= 0.98, f"Dice {same} with {file}")


def main():
    command, folders = globals()[sys.argv[1]], sys.argv[2:]
    if sys.argv[1].startswith("same"):
        return command(*folders)
    faults = []
    for folder in folders:
        try:
            command(folder)
        except Exception as fault:
            if not isinstance(fault, Fault):
                traceback.print_exc()
            faults.append(f"{folder}: {fault}")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
