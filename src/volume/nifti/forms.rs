//! Where a header places its grid, by the rules of the readers that people compare with.
//!
//! The rules are those of [nifti_clib](https://github.com/NIFTI-Imaging/nifti_clib) (which ITK, FSL
//! and AFNI use) and [nibabel](https://nipy.org/nibabel/nifti_images.html). Where they differ from
//! one another:
//!
//! | header | nibabel | nifti_clib, ITK | here |
//! |---|---|---|---|
//! | sform and qform set | sform | sform where its code is 1 or both agree, else qform | sform |
//! | sheared sform | sform | qform, or refused | sform, and a warning that names the angle |
//! | sform flat or not finite | as it is | qform, or refused | qform, or refused |
//! | code below 0 | none | none | none |
//! | code beyond 5 | none | a form like any other | a form like any other |
//! | `pixdim` zero or not finite | zero is 1, NaN stays | 1 | 1, and a warning |
//! | `pixdim` negative | its size | 1 in a qform, else negative | its size, and a warning |
//! | qfac neither 1 nor -1 | 1 | its sign, 0 is 1 | its sign, 0 is 1 |
//! | quaternion of norm over 1 | refused beyond rounding | half a turn | half a turn |
//! | version 1, 1 − norm² below ε | half a turn, ε = 3.6e-7 | half a turn | half a turn, ε = 1e-7 |
//! | quaternion or offset not finite | not finite | 0 | refused |
//! | no form | LAS, centred at 0 | ITK: LPS, first voxel at 0 | as nibabel, and a warning |
//! | unit metre or micrometre | numbers as they are | ITK: millimetres | millimetres |
//!
//! A volume that declares a form which cannot be used is refused: its author had a placement in
//! mind, and another one would swap sides in silence.

use super::super::error::VolumeWarning;
use super::super::geometry::{Affine, Geometry};
use super::fields::{Fields, Version};

/// A version 1 quaternion stands for half a turn where its squared norm is closer to 1 than this:
/// the rest is rounding of 32-bit numbers. The bound is nifti_clib's, which most readers share.
const HALF_TURN: f64 = 1e-7;

/// A declared form that cannot be used: the field, what it says, what it may say.
pub(super) type Unusable = (&'static str, String, &'static str);

/// The grid's placement in millimetres, and what is odd about it.
pub(super) fn place(
    fields: &Fields,
    size: [usize; 3],
) -> Result<(Geometry, Vec<VolumeWarning>), Unusable> {
    let mut warnings = Vec::new();
    let sform =
        (fields.sform_code > 0).then_some(Affine(fields.srow)).filter(Affine::is_invertible);
    let qform = (fields.qform_code > 0).then(|| qform(fields)).filter(Affine::is_invertible);
    let affine = match (sform, qform) {
        (Some(sform), Some(qform)) => {
            let [from_sform, from_qform] = [sform.orientation(), qform.orientation()];
            if from_sform != from_qform {
                warnings.push(VolumeWarning::FormsDiffer { sform: from_sform, qform: from_qform });
            }
            sform
        }
        (Some(sform), None) => sform,
        (None, Some(qform)) => {
            warn_of_spacing(fields, &mut warnings);
            qform
        }
        (None, None) => {
            refuse_unusable(fields)?;
            warnings.push(VolumeWarning::NoAffine);
            warn_of_spacing(fields, &mut warnings);
            centred(fields, size)
        }
    };
    let affine = Affine(affine.0.map(|row| row.map(|v| millimetres(fields.xyzt_units, v))));
    let geometry = Geometry::new(size, affine);
    warnings.extend(geometry.oddities());
    Ok((geometry, warnings))
}

/// A length in the header's unit of space: the low three bits of `xyzt_units` are 1 for metres, 2
/// for millimetres, 3 for micrometres; anything else is unknown and taken as millimetres.
fn millimetres(xyzt_units: i32, length: f64) -> f64 {
    match xyzt_units & 7 {
        1 => length * 1000.0,
        3 => length / 1000.0,
        _ => length,
    }
}

/// The spacing in `pixdim[1..4]`, without sign; 1 where it is 0 or not finite.
fn spacing(fields: &Fields) -> [f64; 3] {
    [1, 2, 3].map(|i| {
        let size = fields.pixdim[i].abs();
        if size.is_finite() && size > 0.0 { size } else { 1.0 }
    })
}

fn warn_of_spacing(fields: &Fields, warnings: &mut Vec<VolumeWarning>) {
    for (axis, step) in fields.pixdim[1..4].iter().enumerate() {
        if !step.is_finite() || *step == 0.0 {
            warnings.push(VolumeWarning::NoSpacing(axis));
        } else if *step < 0.0 {
            warnings.push(VolumeWarning::NegativeSpacing(axis));
        }
    }
}

/// Fails where a form is declared, but none can be used.
fn refuse_unusable(fields: &Fields) -> Result<(), Unusable> {
    const EXPECTED: &str = "a placement that is finite and spans space: write the header anew, or \
        set sform_code and qform_code to 0 to have the volume placed by pixdim alone";
    if fields.qform_code > 0 {
        let found = format!("{:?} with offset {:?}", fields.quatern, fields.qoffset);
        return Err(("quatern_b to qoffset_z", found, EXPECTED));
    }
    if fields.sform_code > 0 {
        return Err(("srow_x to srow_z", format!("{:?}", fields.srow), EXPECTED));
    }
    Ok(())
}

/// The placement of a grid without any form: x to the left, the grid's centre at the origin.
fn centred(fields: &Fields, size: [usize; 3]) -> Affine {
    let mut rows = [[0.0; 4]; 3];
    for (axis, size_of_step) in spacing(fields).into_iter().enumerate() {
        let step = if axis == 0 { -size_of_step } else { size_of_step };
        rows[axis][axis] = step;
        rows[axis][3] = -step * (size[axis] as f64 - 1.0) / 2.0;
    }
    Affine(rows)
}

/// The affine of the quaternion form, by the formula in nifti1.h under "method 2". It is not finite
/// where one of the form's numbers is not.
fn qform(fields: &Fields) -> Affine {
    let norm = fields.quatern.iter().map(|v| v * v).sum::<f64>();
    let rest = 1.0 - norm;
    let half_turn = match fields.version {
        Version::One => rest < HALF_TURN,
        Version::Two => rest <= 0.0,
    };
    let (a, [b, c, d]) = if half_turn {
        (0.0, fields.quatern.map(|v| v / norm.sqrt()))
    } else {
        (rest.sqrt(), fields.quatern)
    };
    let [x, y, z] = spacing(fields);
    let step = [x, y, if fields.pixdim[0] < 0.0 { -z } else { z }];
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - c * c - b * b],
    ];
    Affine([0, 1, 2].map(|row| {
        let r = rotation[row];
        [r[0] * step[0], r[1] * step[1], r[2] * step[2], fields.qoffset[row]]
    }))
}
