//! A NIfTI header's numbers as they are stored, version 1 or 2: read from bytes, and written for a label volume.
//!
//! Formats: <https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h> and
//! <https://nifti.nimh.nih.gov/pub/dist/doc/nifti2.h>. Only what voxels and their placement need is kept: texts may name
//! the patient, and times of slices mean nothing to labels.

/// Version of the format. A version 2 header has 64-bit sizes and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Version {
    /// Bytes of a header without what follows it.
    pub(super) fn header_len(self) -> usize {
        match self {
            Self::One => 348,
            Self::Two => 540,
        }
    }

    /// The version that the magic says, and whether voxels lie in a file of their own. `bytes` are the first 348.
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

/// The numbers that are kept, under the format's own names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fields {
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
    /// Reads a header of as many bytes as its version has.
    pub(super) fn parse(bytes: &[u8], version: Version, pair: bool) -> Self {
        let (header_len, dim_at) = match version {
            Version::One => (348, 40),
            Version::Two => (540, 16),
        };
        let mut from = Reader { bytes, big_endian: false };
        from.big_endian = {
            let dim = |from: &Reader| match version {
                Version::One => from.i16(dim_at).into(),
                Version::Two => from.i64(dim_at),
            };
            // As nifti_clib and nibabel do: the number of dimensions tells, and where that is 0, the header's length.
            let swapped = Reader { bytes, big_endian: true };
            match ((1..=7).contains(&dim(&from)), (1..=7).contains(&dim(&swapped))) {
                (false, true) => true,
                (false, false) => from.i32(0) != header_len && swapped.i32(0) == header_len,
                _ => false,
            }
        };
        match version {
            Version::One => Self::one(&from, pair),
            Version::Two => Self::two(&from, pair),
        }
    }

    fn one(from: &Reader, pair: bool) -> Self {
        let f32s = |at: usize, i: usize| f64::from(from.f32(at + 4 * i));
        Self {
            version: Version::One,
            pair,
            big_endian: from.big_endian,
            dim: std::array::from_fn(|i| from.i16(40 + 2 * i).into()),
            datatype: from.i16(70),
            pixdim: std::array::from_fn(|i| f32s(76, i)),
            vox_offset: f32s(108, 0),
            scl_slope: f32s(112, 0),
            scl_inter: f32s(116, 0),
            xyzt_units: from.bytes[123].into(),
            qform_code: from.i16(252).into(),
            sform_code: from.i16(254).into(),
            quatern: std::array::from_fn(|i| f32s(256, i)),
            qoffset: std::array::from_fn(|i| f32s(268, i)),
            srow: std::array::from_fn(|row| std::array::from_fn(|i| f32s(280 + 16 * row, i))),
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

    /// Header of a uint8 label volume of `size` on the same grid, little-endian, of the same version so that numbers
    /// stay what they are; voxels follow in the same file at `vox_offset`. `descrip` has at most 80 bytes.
    pub(super) fn label_header(&self, size: [usize; 3], vox_offset: usize, descrip: &str) -> Vec<u8> {
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
                dim.iter().enumerate().for_each(|(i, v)| put(40 + 2 * i, &(*v as i16).to_le_bytes()));
                let codes = [INTENT_LABEL, DATATYPE_UINT8, 8];
                codes.iter().enumerate().for_each(|(i, v)| put(68 + 2 * i, &v.to_le_bytes()));
                put(123, &[self.xyzt_units as u8]);
                put(148, descrip.as_bytes());
                put(252, &(self.qform_code as i16).to_le_bytes());
                put(254, &(self.sform_code as i16).to_le_bytes());
                for (at, values) in floats {
                    values.iter().enumerate().for_each(|(i, v)| put(at + 4 * i, &(*v as f32).to_le_bytes()));
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
    read!(i16, i32, i64, f32, f64);
}
