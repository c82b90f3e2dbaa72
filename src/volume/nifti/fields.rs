//! The numbers of a NIfTI header as they are stored, in version 1 or 2: read from bytes, and
//! written for a label volume.
//!
//! Formats: <https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h> and
//! <https://nifti.nimh.nih.gov/pub/dist/doc/nifti2.h>. Only numbers about voxels and their
//! placement are kept: texts may name the patient, and times of slices mean nothing to labels.

use nifti::{Endianness, NiftiError, NiftiHeader};

use super::super::geometry::Geometry;

/// Version of the format. A version 2 header has 64-bit sizes and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Version {
    /// Bytes of a header, without the extension that may follow.
    pub(super) fn header_len(self) -> usize {
        match self {
            Self::One => 348,
            Self::Two => 540,
        }
    }

    /// The version that the magic in a file's first 348 bytes says, and whether voxels lie in a
    /// file of their own.
    pub(super) fn of(bytes: &[u8]) -> Option<(Self, bool)> {
        let at = |from: usize| bytes.get(from..from + 4);
        match (at(4), at(344)) {
            (Some(b"n+2\0"), _) => Some((Self::Two, false)),
            (Some(b"ni2\0"), _) => Some((Self::Two, true)),
            (_, Some(b"n+1\0")) => Some((Self::One, false)),
            (_, Some(b"ni1\0")) => Some((Self::One, true)),
            _ => None,
        }
    }
}

/// `NIFTI_INTENT_LABEL`.
const INTENT_LABEL: i16 = 1002;

/// `DT_UINT8`.
const DATATYPE_UINT8: i16 = 2;

/// `NIFTI_UNITS_MM`.
const UNITS_MM: i32 = 2;

/// `NIFTI_XFORM_SCANNER_ANAT`.
const XFORM_SCANNER: i32 = 1;

/// The numbers that are kept, under the format's own names.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::volume) struct Fields {
    pub(super) version: Version,
    /// Whether voxels lie in a file of their own.
    pub(super) pair: bool,
    pub(super) big_endian: bool,
    pub(super) dim: [i64; 8],
    pub(super) datatype: i16,
    pub(super) pixdim: [f64; 8],
    pub(super) vox_offset: f64,
    pub(super) scl_slope: f64,
    pub(super) scl_inter: f64,
    pub(super) xyzt_units: i32,
    pub(super) qform_code: i32,
    pub(super) sform_code: i32,
    /// `quatern_b`, `quatern_c`, `quatern_d`.
    pub(super) quatern: [f64; 3],
    /// `qoffset_x`, `qoffset_y`, `qoffset_z`.
    pub(super) qoffset: [f64; 3],
    /// `srow_x`, `srow_y`, `srow_z`.
    pub(super) srow: [[f64; 4]; 3],
}

impl Fields {
    /// Reads a header from its [`Version::header_len`] bytes, with the crate `nifti` where it is
    /// one of version 1. Nothing is allocated from what a header claims.
    ///
    /// # Errors
    /// What `nifti` says of a version 1 header.
    pub(super) fn parse(bytes: &[u8], version: Version, pair: bool) -> Result<Self, NiftiError> {
        match version {
            Version::One => Ok(Self::one(&NiftiHeader::from_reader(bytes)?, pair)),
            Version::Two => Ok(Self::two(&Reader::new(bytes), pair)),
        }
    }

    fn one(header: &NiftiHeader, pair: bool) -> Self {
        Self {
            version: Version::One,
            pair,
            big_endian: header.endianness == Endianness::Big,
            // The crate `nifti` takes sizes as unsigned, the format has signed ones.
            dim: header.dim.map(|size| size.cast_signed().into()),
            datatype: header.datatype,
            pixdim: header.pixdim.map(f64::from),
            vox_offset: header.vox_offset.into(),
            scl_slope: header.scl_slope.into(),
            scl_inter: header.scl_inter.into(),
            xyzt_units: header.xyzt_units.into(),
            qform_code: header.qform_code.into(),
            sform_code: header.sform_code.into(),
            quatern: [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from),
            qoffset: [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from),
            srow: [header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from)),
        }
    }

    fn two(from: &Reader, pair: bool) -> Self {
        let f64s = |at: usize, i: usize| from.f64(at + 8 * i);
        Self {
            version: Version::Two,
            pair,
            big_endian: from.big_endian,
            dim: std::array::from_fn(|i| from.i64(16 + 8 * i)),
            datatype: from.i16(12),
            pixdim: std::array::from_fn(|i| f64s(104, i)),
            vox_offset: from.i64(168) as f64,
            scl_slope: f64s(176, 0),
            scl_inter: f64s(184, 0),
            xyzt_units: from.i32(500),
            qform_code: from.i32(344),
            sform_code: from.i32(348),
            quatern: std::array::from_fn(|i| f64s(352, i)),
            qoffset: std::array::from_fn(|i| f64s(376, i)),
            srow: std::array::from_fn(|row| std::array::from_fn(|i| f64s(400 + 32 * row, i))),
        }
    }

    /// The numbers that place a grid which no NIfTI file placed: an sform in millimetres. Version 1
    /// where the sizes fit into its 16 bits, since every program reads it.
    pub(super) fn of_geometry(geometry: &Geometry) -> Self {
        let narrow = geometry.size.iter().all(|&n| i16::try_from(n).is_ok());
        let [x, y, z] = geometry.spacing;
        Self {
            version: if narrow { Version::One } else { Version::Two },
            pair: false,
            big_endian: false,
            dim: [0; 8],
            datatype: 0,
            pixdim: [1.0, x, y, z, 1.0, 1.0, 1.0, 1.0],
            vox_offset: 0.0,
            scl_slope: 0.0,
            scl_inter: 0.0,
            xyzt_units: UNITS_MM,
            qform_code: 0,
            sform_code: XFORM_SCANNER,
            quatern: [0.0; 3],
            qoffset: [0.0; 3],
            srow: geometry.affine.0,
        }
    }

    /// Header of a uint8 label volume of `size` on the same grid, little-endian, of the same
    /// version so that numbers stay what they are; voxels follow in the same file at `vox_offset`.
    /// `descrip` has at most 80 bytes.
    pub(super) fn label_header(
        &self,
        size: [usize; 3],
        vox_offset: usize,
        descrip: &str,
    ) -> Vec<u8> {
        let mut out = vec![0; self.version.header_len()];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        let dim = [3, size[0] as i64, size[1] as i64, size[2] as i64, 1, 1, 1, 1];
        put(0, &(self.version.header_len() as i32).to_le_bytes());
        match self.version {
            Version::One => {
                let floats: [(usize, &[f64]); 7] = [
                    (76, &self.pixdim),
                    (108, &[vox_offset as f64, 1.0, 0.0]),
                    (256, &self.quatern),
                    (268, &self.qoffset),
                    (280, &self.srow[0]),
                    (296, &self.srow[1]),
                    (312, &self.srow[2]),
                ];
                put(38, b"r");
                dim.iter()
                    .enumerate()
                    .for_each(|(i, v)| put(40 + 2 * i, &(*v as i16).to_le_bytes()));
                let codes = [INTENT_LABEL, DATATYPE_UINT8, 8];
                codes.iter().enumerate().for_each(|(i, v)| put(68 + 2 * i, &v.to_le_bytes()));
                put(123, &[self.xyzt_units as u8]);
                put(148, descrip.as_bytes());
                put(252, &(self.qform_code as i16).to_le_bytes());
                put(254, &(self.sform_code as i16).to_le_bytes());
                for (at, values) in floats {
                    values
                        .iter()
                        .enumerate()
                        .for_each(|(i, v)| put(at + 4 * i, &(*v as f32).to_le_bytes()));
                }
                put(344, b"n+1\0");
            }
            Version::Two => {
                let floats: [(usize, &[f64]); 7] = [
                    (104, &self.pixdim),
                    (176, &[1.0, 0.0]),
                    (352, &self.quatern),
                    (376, &self.qoffset),
                    (400, &self.srow[0]),
                    (432, &self.srow[1]),
                    (464, &self.srow[2]),
                ];
                put(4, b"n+2\0\r\n\x1a\n");
                put(12, &DATATYPE_UINT8.to_le_bytes());
                put(14, &8i16.to_le_bytes());
                dim.iter().enumerate().for_each(|(i, v)| put(16 + 8 * i, &v.to_le_bytes()));
                put(168, &(vox_offset as i64).to_le_bytes());
                put(240, descrip.as_bytes());
                put(344, &self.qform_code.to_le_bytes());
                put(348, &self.sform_code.to_le_bytes());
                for (at, values) in floats {
                    values.iter().enumerate().for_each(|(i, v)| put(at + 8 * i, &v.to_le_bytes()));
                }
                put(500, &self.xyzt_units.to_le_bytes());
                put(504, &i32::from(INTENT_LABEL).to_le_bytes());
            }
        }
        out
    }
}

/// Numbers at byte positions.
struct Reader<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Reader<'a> {
    /// Numbers of a version 2 header. As in nifti_clib and nibabel, the number of dimensions
    /// decides the byte order, and the header's length does where that number is implausible in
    /// both orders.
    fn new(bytes: &'a [u8]) -> Self {
        let [little, big] = [false, true].map(|big_endian| Self { bytes, big_endian });
        let plausible = |from: &Self| (1..=7).contains(&from.i64(16));
        let swapped = match (plausible(&little), plausible(&big)) {
            (false, true) => true,
            (false, false) => little.i32(0) != 540 && big.i32(0) == 540,
            _ => false,
        };
        if swapped { big } else { little }
    }
}

macro_rules! read {
    ($($type:ident),*) => {
        $(fn $type(&self, at: usize) -> $type {
            let mut bytes = [0; size_of::<$type>()];
            bytes.copy_from_slice(&self.bytes[at..at + size_of::<$type>()]);
            if self.big_endian { $type::from_be_bytes(bytes) } else { $type::from_le_bytes(bytes) }
        })*
    };
}

impl Reader<'_> {
    read!(i16, i32, i64, f64);
}
