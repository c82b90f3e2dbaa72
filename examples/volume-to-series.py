#!/usr/bin/env python3
"""Writes a NIfTI volume as a DICOM series of MR images, to try monet on DICOM where no scanner is.

    pip install nibabel numpy pydicom scipy
    python3 examples/volume-to-series.py VOLUME.nii.gz FOLDER [--axes ASR] [--zoom 2]

A slice is a file, the volume's third axis counts the slices. Intensities are rounded to whole
numbers. The patient is nobody, the UIDs are new ones in each run.
"""

import argparse
from pathlib import Path

import nibabel
import numpy
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import zoom

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
# Unit vectors in DICOM's coordinates (to the left, backwards, upwards) for each direction's letter.
DIRECTIONS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0),
              "S": (0, 0, 1), "I": (0, 0, -1)}


def geometry(volume, letters):
    """The axes as unit vectors [3, 3], one a row; the spacing in mm; the first voxel's place in mm.

    With `letters`, these name the directions in which the three axes grow, and the header's own
    directions count for nothing: for files whose header is known to be wrong.
    """
    affine = volume.affine
    spacing = numpy.linalg.norm(affine[:3, :3], axis=0)
    if letters:
        axes = numpy.array([DIRECTIONS[letter] for letter in letters], float)
        return axes, spacing, numpy.zeros(3)
    to_dicom = numpy.array([-1, -1, 1])  # NIfTI counts to the right and forwards
    axes = (affine[:3, :3] / spacing).T * to_dicom
    return axes, spacing, affine[:3, 3] * to_dicom


def image(pixels, place, axes, spacing, uids, number):
    """One slice, `pixels` [columns, rows], as a data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MR_IMAGE_STORAGE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = MR_IMAGE_STORAGE, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = uids
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "", "EXAMPLE", "", ""
    data.StudyDate = data.StudyTime = data.AccessionNumber = data.ReferringPhysicianName = ""
    data.StudyID, data.Modality, data.Manufacturer = "1", "MR", ""
    data.SeriesDescription, data.SeriesNumber = "a volume, as a series", 1
    data.InstanceNumber = number
    data.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    data.ScanningSequence, data.SequenceVariant, data.ScanOptions = "RM", "NONE", ""
    data.MRAcquisitionType, data.PatientPosition = "3D", "HFS"
    data.RepetitionTime = data.EchoTime = data.EchoTrainLength = ""
    data.PositionReferenceIndicator = ""
    data.ImageOrientationPatient = [f"{value:.10g}" for value in axes[:2].flatten()]
    data.ImagePositionPatient = [f"{value:.10g}" for value in place]
    data.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
    data.SliceThickness = f"{spacing[2]:.10g}"
    data.Columns, data.Rows = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.PixelData = numpy.ascontiguousarray(pixels.T, "<i2").tobytes()
    return data


def finer(voxels, axes, spacing, origin, times):
    """The volume interpolated to `times` as many pixels along columns and rows.

    The new pixels tile the old ones, so that the first centre lies further out.
    """
    factors = numpy.array([times, times, 1])
    shift = (spacing - spacing / factors) / 2
    voxels = zoom(voxels, factors, order=1, mode="nearest", grid_mode=True)
    return voxels, spacing / factors, origin - shift @ axes


def main():
    """Reads the arguments, writes the series."""
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("volume", type=Path)
    parser.add_argument("folder", type=Path, help="made by this script")
    parser.add_argument("--axes", help="where the axes grow to, e.g. ASR, if the header is wrong")
    parser.add_argument("--zoom", type=int, default=1, help="pixels in a row for one of the volume")
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder} is there already: name a folder that is not")
    volume = nibabel.load(options.volume)
    axes, spacing, origin = geometry(volume, options.axes)
    voxels = volume.get_fdata()
    if options.zoom > 1:
        voxels, spacing, origin = finer(voxels, axes, spacing, origin, options.zoom)
    voxels = voxels.round().clip(-32768, 32767)
    options.folder.mkdir(parents=True)
    uids = [generate_uid() for _ in range(3)]
    for z in range(voxels.shape[2]):
        place = origin + axes[2] * spacing[2] * z
        data = image(voxels[:, :, z], place, axes, spacing, uids, z + 1)
        data.save_as(options.folder / f"{z + 1:04}.dcm", enforce_file_format=True)
    print(f"{voxels.shape[2]} slices of {voxels.shape[0]} x {voxels.shape[1]} in {options.folder}")


if __name__ == "__main__":
    main()
