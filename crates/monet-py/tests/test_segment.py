"""The package as its users have it: paths, images and arrays give the command's labels."""

import gzip
import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import nibabel
import numpy
import pytest
import SimpleITK

import monet

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "models/sample/mni152-hippocampus.nii.gz"


@pytest.fixture(scope="module")
def expected():
    """Labels of the sample, as `segment_file` writes them."""
    return monet.segment(SAMPLE)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The sample as a DICOM series, a file a slice."""
    folder = tmp_path_factory.mktemp("study")
    write_series(folder, "1.2.826.0.1.3680043.2.1125.1")
    return folder


def write_series(folder, uid):
    image = SimpleITK.Cast(SimpleITK.ReadImage(str(SAMPLE)), SimpleITK.sitkInt16)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    cosines = numpy.reshape(image.GetDirection(), (3, 3)).T[:2].flatten()
    for i in range(image.GetDepth()):
        part = image[:, :, i]
        place = image.TransformIndexToPhysicalPoint((0, 0, i))
        for tag, value in {
            "0008|0060": "MR",
            "0008|0018": f"{uid}.{i + 1}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125",
            "0020|000e": uid,
            "0020|0013": str(i + 1),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0052": f"{uid}.0",
            "0020|0037": "\\".join(map(str, cosines)),
            "0018|0050": str(image.GetSpacing()[2]),
        }.items():
            part.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}.{i + 1}.dcm"))
        writer.Execute(part)


def voxels_of(image):
    return numpy.asanyarray(image.dataobj)


def test_files_are_the_command_s(tmp_path, expected):
    mask, stats = tmp_path / "mask.nii.gz", tmp_path / "stats.json"
    figures = monet.Model().segment_file(SAMPLE, mask, stats=stats, preview=tmp_path / "p.png")
    written = nibabel.load(mask)
    assert numpy.array_equal(voxels_of(written), expected.labels)
    assert numpy.allclose(written.affine, expected.affine)
    assert json.loads(stats.read_text())["labels"] == figures["labels"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(monet.OutputError, match="exists already"):
        monet.Model().segment_file(SAMPLE, mask)
    score = monet.evaluate(mask, mask, labels=[1, 2])
    assert [label["dice"] for label in score["labels"]] == [1.0, 1.0]


def test_arrays_of_either_order_and_any_type_are_the_file(expected):
    image = nibabel.load(SAMPLE)
    voxels = voxels_of(image)
    strided = numpy.zeros((*voxels.shape[:2], 2 * voxels.shape[2]), voxels.dtype)[:, :, ::2]
    strided[...] = voxels
    forms = {
        "fortran": numpy.asfortranarray(voxels),
        "c": numpy.ascontiguousarray(voxels),
        "strided": strided,
        "big-endian": voxels.astype(voxels.dtype.newbyteorder(">")),
        "float64": voxels.astype(float),
        "uint32": voxels.astype(numpy.uint32),
    }
    forms["read-only"] = numpy.array(voxels)
    forms["read-only"].flags.writeable = False
    for name, form in forms.items():
        found = monet.segment(form, affine=image.affine)
        assert numpy.array_equal(found.labels, expected.labels), name
        assert numpy.allclose(found.affine, expected.affine), name
        assert found.volumes == expected.volumes, name


def test_channels_are_the_last_axis(expected):
    image = nibabel.load(SAMPLE)
    voxels = voxels_of(image)[..., None]
    for order in "CF":
        found = monet.segment(numpy.array(voxels, order=order), affine=image.affine)
        assert numpy.array_equal(found.labels, expected.labels), order


def test_images_of_other_libraries_are_the_file(expected):
    found = monet.segment(nibabel.load(SAMPLE))
    assert numpy.array_equal(found.labels, expected.labels)
    image = SimpleITK.ReadImage(str(SAMPLE))
    found = monet.segment(image)
    assert numpy.array_equal(found.labels, expected.labels)
    assert numpy.allclose(found.affine, expected.affine)
    back = found.to_simpleitk()
    assert numpy.allclose(back.GetOrigin(), image.GetOrigin())
    assert numpy.allclose(back.GetDirection(), image.GetDirection())
    assert numpy.array_equal(SimpleITK.GetArrayFromImage(back).T, expected.labels)
    assert numpy.array_equal(voxels_of(found.to_nibabel()), expected.labels)


def orders():
    """The 48 ways to store a grid: permutations of the axes, each in either direction."""
    signs = itertools.product([1, -1], repeat=3)
    return list(itertools.product(itertools.permutations(range(3)), signs))


@pytest.mark.parametrize("order", orders(), ids=str)
def test_all_orientations(order, expected):
    axes, signs = order
    ornt = numpy.array(list(zip(axes, signs)))
    turned = nibabel.load(SAMPLE).as_reoriented(ornt)
    labels = nibabel.Nifti1Image(expected.labels, expected.affine).as_reoriented(ornt)
    found = monet.segment(turned, preview=False)
    assert numpy.array_equal(found.labels, voxels_of(labels))
    itk = SimpleITK.GetImageFromArray(numpy.ascontiguousarray(voxels_of(turned).T))
    affine = numpy.diag([-1, -1, 1, 1]) @ turned.affine
    spacing = numpy.linalg.norm(affine[:3, :3], axis=0)
    itk.SetSpacing(spacing.tolist())
    itk.SetDirection((affine[:3, :3] / spacing).flatten().tolist())
    itk.SetOrigin(affine[:3, 3].tolist())
    assert numpy.array_equal(monet.segment(itk, preview=False).labels, voxels_of(labels))


def test_what_is_no_volume_is_told(tmp_path):
    noise = numpy.zeros((8, 8, 4), numpy.int16)
    with pytest.raises(TypeError, match="expected a path"):
        monet.segment(noise)
    with pytest.raises(ValueError, match="three, or four"):
        monet.segment(noise[0], affine=numpy.eye(4))
    with pytest.raises(ValueError, match="4 x 4"):
        monet.segment(noise, affine=numpy.eye(3))
    with pytest.raises(TypeError, match="complex|expected whole"):
        monet.segment(noise.astype(complex), affine=numpy.eye(4))
    with pytest.raises(TypeError, match="masked"):
        monet.segment(numpy.ma.masked_array(noise), affine=numpy.eye(4))
    with pytest.raises(monet.VolumeError, match="affine"):
        monet.segment(noise, affine=numpy.diag([0, 0, 0, 1]), accept_any=True)
    with pytest.raises(monet.NotAcceptedError, match="was not made|not a volume"):
        monet.segment(noise, affine=numpy.eye(4))
    with pytest.raises(monet.VolumeError):
        monet.segment(tmp_path / "missing.nii")
    with pytest.raises(monet.ModelError):
        monet.Model(tmp_path / "missing.toml")
    with pytest.raises(monet.ModelError, match="kernel"):
        monet.Model(kernel="none")
    with pytest.raises(ValueError, match="threads"):
        monet.Model(threads=0)


def test_what_is_for_dicom_is_refused_elsewhere(tmp_path):
    model, output = monet.Model(), tmp_path / "mask.nii"
    for option in [{"series": "1.2"}, {"allow_gaps": True}]:
        for volume in [SAMPLE, nibabel.load(SAMPLE)]:
            with pytest.raises(ValueError, match="for DICOM"):
                model.segment(volume, **option)
        with pytest.raises(ValueError, match="for DICOM"):
            model.segment_file(SAMPLE, output, **option)
    with pytest.raises(ValueError, match="for DICOM"):
        model.segment_file(SAMPLE, output, format="nifti")
    with pytest.raises(ValueError, match="expected seg, labelmap, rtstruct or nifti"):
        model.segment_file(SAMPLE, output, format="png")
    assert list(tmp_path.iterdir()) == []


def test_series_become_what_the_output_s_name_says(study, tmp_path, expected):
    model, mask = monet.Model(), tmp_path / "mask.nii.gz"
    assert numpy.array_equal(model.segment(study).labels, expected.labels)
    model.segment_file(study, mask)
    assert numpy.array_equal(voxels_of(nibabel.load(mask)), expected.labels)
    for name, format in [("seg.dcm", None), ("labelmap.dcm", "labelmap")]:
        model.segment_file(study, tmp_path / name, format=format)
        score = monet.evaluate(tmp_path / name, mask)
        assert [label["dice"] for label in score["labels"]] == [1.0, 1.0], name
    made = sorted(tmp_path.iterdir())
    for name, format in [("a.png", None), ("a.nii", "seg"), ("a.dcm", "nifti"), ("a.png", "nifti")]:
        with pytest.raises(monet.OutputError, match="expected a name that ends in"):
            model.segment_file(study, tmp_path / name, format=format)
    assert sorted(tmp_path.iterdir()) == made


def test_names_of_files_are_escaped_in_messages(tmp_path):
    folder = tmp_path / "a\x1b[2J"
    folder.mkdir()
    for uid in ["1.2.826.0.1.3680043.2.1125.1", "1.2.826.0.1.3680043.2.1125.2"]:
        write_series(folder, uid)
    with pytest.raises(monet.VolumeError, match="2 series fit") as raised:
        monet.segment(folder)
    assert "a\\x1b[2J" in str(raised.value) and "\x1b" not in str(raised.value)


def test_profiles_have_the_command_s_bounds():
    model = monet.Model()
    assert model.profile(size=(32, 36), runs=1)["size"] == [32, 36]
    for size in [(30, 32), (32, 0), (-4, 32), (32, 4100), (32, 10**30)]:
        with pytest.raises(ValueError, match=f"size {size[0]}x{size[1]}: expected"):
            model.profile(size=size)
    for bound in [{"threads": 0}, {"threads": 257}, {"runs": 0}, {"runs": 10**6 + 1}]:
        with pytest.raises(ValueError, match="expected 1 to"):
            model.profile(**bound)


@pytest.mark.skipif("MONET_BIN" not in os.environ, reason="MONET_BIN names no command")
def test_errors_have_the_command_s_texts(study, tmp_path):
    no_nifti, refused, there = (tmp_path / name for name in ("a.nii", "b.nii", "there.nii"))
    no_nifti.write_bytes(b"no volume")
    there.touch()
    noise = numpy.zeros((8, 8, 4), numpy.int16)
    nibabel.save(nibabel.Nifti1Image(noise, numpy.eye(4)), refused)
    new = tmp_path / "new.nii"
    cases = [
        (monet.VolumeError, tmp_path / "missing.nii", new, None),
        (monet.VolumeError, no_nifti, new, None),
        (monet.NotAcceptedError, refused, new, None),
        (monet.OutputError, SAMPLE, there, None),
        (monet.OutputError, SAMPLE, SAMPLE, None),
        (monet.ModelError, SAMPLE, new, tmp_path / "missing.toml"),
        (monet.OutputError, study, tmp_path / "new.png", None),
        (monet.VolumeError, tmp_path, tmp_path / "new.dcm", None),
    ]
    for kind, volume, output, model in cases:
        command = [os.environ["MONET_BIN"], "segment", volume, "-o", output]
        command += [] if model is None else ["--model", model]
        said = subprocess.run(command, capture_output=True, text=True).stderr
        with pytest.raises(kind) as raised:
            monet.Model(model).segment_file(volume, output)
        assert said == f"monet: error: {raised.value}\n"


def test_kernels_agree(expected):
    for kernel in monet.kernels():
        found = monet.segment(SAMPLE, model=monet.Model(kernel=kernel), preview=False)
        assert numpy.array_equal(found.labels, expected.labels), kernel


def test_progress_is_told_and_ends_it():
    told = []
    monet.segment(SAMPLE, progress=lambda done, slices: told.append((done, slices)))
    assert told[-1][0] == told[-1][1] == len(told)

    def stop(done, _):
        if done == 3:
            raise RuntimeError("enough")

    model = monet.Model()
    with pytest.raises(RuntimeError, match="enough"):
        model.segment(SAMPLE, progress=stop)
    # The model serves the next volume.
    assert model.segment(SAMPLE).volumes


def test_other_threads_run_meanwhile(expected):
    model, found = monet.Model(threads=2), []
    workers = [
        threading.Thread(target=lambda: found.append(model.segment(SAMPLE, preview=False)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    assert all(numpy.array_equal(result.labels, expected.labels) for result in found)


def test_labels_may_be_changed(expected):
    labels = expected.labels.copy()
    found = monet.segment(SAMPLE)
    found.labels[...] = 0
    assert numpy.array_equal(monet.segment(SAMPLE).labels, labels)


def test_previews_are_shown_in_notebooks(expected):
    assert expected._repr_png_().startswith(b"\x89PNG")
    assert monet.segment(SAMPLE, preview=False)._repr_png_() is None
    shown = "<monet.Segmentation of 38×52×36 voxels: anterior 2.252 ml, posterior 1.715 ml>"
    assert repr(expected) == shown


def test_memory_does_not_grow():
    """A thousand volumes of one model, small ones: what is resident stays."""
    model = monet.Model()
    noise = numpy.random.default_rng(1).integers(0, 500, (40, 40, 8), dtype=numpy.int16)

    def resident():
        text = Path("/proc/self/statm").read_text()
        return int(text.split()[1]) * 4096

    def some(count):
        for _ in range(count):
            model.segment(noise, affine=numpy.eye(4), accept_any=True)

    some(50)
    before = resident()
    some(1000)
    assert resident() - before < 2 << 20


def test_nothing_is_printed(capfd):
    monet.segment(SAMPLE)
    assert capfd.readouterr() == ("", "")


def test_the_process_is_left_alone():
    """No signal handler, no exit: Ctrl-C is Python's, and ends a segmentation."""
    script = (
        "import os, signal, monet\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "try:\n"
        "    while True: monet.segment(" + repr(str(SAMPLE)) + ")\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "interrupted\n", ran.stderr


def oddly(change, tmp_path):
    """The sample with another header: as a path, and as an image of nibabel."""
    image = nibabel.load(SAMPLE)
    header = image.header.copy()
    header["scl_slope"], header["vox_offset"] = 0, 352
    change(header)
    path = tmp_path / "odd.nii"
    path.write_bytes(header.binaryblock + bytes(4) + voxels_of(image).tobytes("F"))
    return path, nibabel.load(path)


def no_sides(header):
    header["sform_code"] = header["qform_code"] = 0


def other_sides(header):
    header.set_qform(numpy.diag([-1, -1, 1, 1]) @ header.get_sform(), 1)


def metres(header):
    header.set_xyzt_units("meter")
    header["srow_x"], header["srow_y"] = header["srow_x"] / 1e3, header["srow_y"] / 1e3
    header["srow_z"], header["qform_code"] = header["srow_z"] / 1e3, 0
    header["pixdim"][1:4] /= 1e3


@pytest.mark.parametrize("change", [no_sides, other_sides, metres])
def test_an_image_says_of_itself_what_its_file_says(change, tmp_path):
    path, image = oddly(change, tmp_path)
    from_file = monet.segment(path, accept_any=True)
    from_image = monet.segment(image, accept_any=True)
    assert from_file.warnings == from_image.warnings
    assert bool(from_file.warnings) == (change is not metres)
    assert numpy.array_equal(from_file.labels, from_image.labels)
    assert numpy.array_equal(from_file.affine, from_image.affine)
    assert from_file.volumes == from_image.volumes
    # With an affine that somebody gave it, the header says nothing of the sides any more.
    moved = nibabel.Nifti1Image(image.dataobj, nibabel.load(SAMPLE).affine)
    assert monet.segment(moved).warnings == []


def in_metres(image):
    metre = numpy.diag([1e-3, 1e-3, 1e-3, 1])
    image.header.set_xyzt_units("meter")
    made = nibabel.Nifti1Image(image.dataobj, metre @ image.affine, image.header)
    made.affine[0, 3] += 0.01
    return made


@pytest.mark.parametrize(
    "change",
    [
        in_metres,
        lambda image: nibabel.Nifti1Image(image.dataobj, None, image.header),
        lambda image: nibabel.Nifti1Image(image.dataobj, None),
        lambda image: nibabel.Nifti2Image(image.dataobj, image.affine, image.header),
        lambda image: nibabel.Nifti1Pair(image.dataobj, image.affine, image.header),
        lambda image: image.slicer[::-1, 2:, :50],
    ],
)
def test_an_image_is_the_file_that_nibabel_writes(change, tmp_path):
    image = change(nibabel.load(SAMPLE))
    path = tmp_path / ("image.img" if type(image) is nibabel.Nifti1Pair else "image.nii")
    nibabel.save(image, path)
    from_file = monet.segment(path, accept_any=True)
    from_image = monet.segment(image, accept_any=True)
    assert from_file.warnings == from_image.warnings
    assert numpy.array_equal(from_file.labels, from_image.labels)
    assert numpy.array_equal(from_file.affine, from_image.affine)


def test_further_axes_of_length_one_are_left_out(tmp_path, expected):
    image = nibabel.load(SAMPLE)
    deep = voxels_of(image)[..., None, None]
    path = tmp_path / "deep.nii"
    nibabel.save(nibabel.Nifti1Image(deep, image.affine), path)
    for volume in (path, nibabel.load(path), nibabel.Nifti1Image(deep, image.affine)):
        assert numpy.array_equal(monet.segment(volume).labels, expected.labels)
    assert numpy.array_equal(monet.segment(deep, affine=image.affine).labels, expected.labels)


def test_what_would_be_overheard_is_refused():
    image = nibabel.load(SAMPLE)
    with pytest.raises(TypeError, match="leave out affine"):
        monet.segment(image, affine=image.affine)
    with pytest.raises(TypeError, match="leave out threads"):
        monet.segment(image, model=monet.Model(), threads=2)
    tilted = image.affine.copy()
    tilted[3, 0] = 0.5
    with pytest.raises(ValueError, match="last row is .* expected 0, 0, 0, 1"):
        monet.segment(voxels_of(image), affine=tilted)
    for number in (0, -1, 257, 2**70):
        with pytest.raises(ValueError, match=f"threads {number}: expected 1 to 256"):
            monet.Model(threads=number)
    with pytest.raises(TypeError):
        monet.Model(threads="2")


def test_a_profile_may_be_interrupted_and_asked_for_by_progress():
    script = (
        "import signal, monet\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
        "try: monet.profile(runs=1_000_000)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "interrupted\n", ran.stderr
    model, told = monet.Model(), []
    model.segment(SAMPLE, progress=lambda done, _: done > 1 or told.append(model.profile(runs=1)))
    assert told[0]["model"] == "hippocampus"


def test_a_model_is_not_waited_for_by_its_own_progress():
    model = monet.Model()
    with pytest.raises(monet.MonetError, match="make another Model"):
        model.segment(SAMPLE, progress=lambda *_: model.segment(SAMPLE))
    other = monet.Model()
    model.segment(SAMPLE, progress=lambda done, _: done > 1 or other.segment(SAMPLE))


# A program whose thread is in the middle of a volume, until `may_end`.
AT_WORK = f"""
import threading, monet
model, at_work, may_end = monet.Model(), threading.Event(), threading.Event()
def progress(*_): at_work.set(); may_end.wait()
sample = {str(SAMPLE)!r}
thread = threading.Thread(target=model.segment, args=[sample], kwargs=dict(progress=progress))
thread.start(); at_work.wait()
"""


def said_at_work(script):
    """What a program prints that goes on from there."""
    command = [sys.executable, "-c", AT_WORK + script]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_model_at_work_is_refused_in_a_forked_process():
    """Nobody ends that work there: the call would wait for ever."""
    script = (
        "import os\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try: model.segment(sample)\n"
        "    except monet.MonetError as error: os._exit('forked' in str(error))\n"
        "    os._exit(2)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "may_end.set(); thread.join()\n"
        "print(status)\n"
    )
    assert said_at_work(script) == "1\n"


def test_an_interrupt_ends_the_wait_for_another_threads_volume():
    script = (
        "import signal\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "try: model.segment(sample)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "may_end.set(); thread.join()\n"
    )
    assert said_at_work(script) == "interrupted\n"


def test_an_interrupt_is_seen_before_the_first_slice(tmp_path):
    """While the volume is read for its intensities: the end of the file, which is damaged, is never
    reached."""
    path = tmp_path / "large.nii.gz"
    header = nibabel.Nifti1Header()
    header.set_data_dtype(numpy.int16)
    header.set_data_shape((512, 512, 600))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    slice_ = bytes(512 * 512 * 2)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(599):
            file.write(slice_)
    script = (
        "import signal, sys, monet\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "model = monet.Model()\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "try: model.segment(sys.argv[1], accept_any=True)\n"
        "except KeyboardInterrupt as raised: print('interrupted', raised.__context__)\n"
    )
    command = [sys.executable, "-c", script, path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "interrupted None\n", (ran.stdout, ran.stderr)
