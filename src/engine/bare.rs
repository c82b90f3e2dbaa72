//! A package made of an ONNX file alone, to measure and look at a net that has no manifest.
//!
//! Shapes come from the file, everything else is a stated default.

use std::io::Cursor;
use std::path::Path;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use super::EngineError;
use crate::package::{
    Colour, Fit, Input, Label, Manifest, Net, Normalise, Output, Package, SIZE_STEP, sha256,
};
use crate::volume::Orientation;

/// Largest number of channels and side of a slice.
const LIMITS: [usize; 2] = [16, 4096];

/// Reads an ONNX file without manifest, for slices of this height and width or, where `None`, of the file's own.
///
/// Its input must be `[n, channels, height, width]`, its output `[n, classes, height, width]`. One class is taken for a sigmoid with
/// a threshold of 0.5, several for a softmax. Slices are in RAS orientation, intensities from 0 to 1 taken as they are, sizes resized.
///
/// # Errors
/// [`EngineError::File`], [`EngineError::Load`], [`EngineError::Bare`]
pub fn bare(path: &Path, size: Option<[usize; 2]>) -> Result<Package, EngineError> {
    let onnx = Package::read_net(path)?;
    let origin = path.display().to_string();
    let load = |e: TractError| EngineError::Load { origin: origin.clone(), reason: format!("{e:#}") };
    let wrong = |what, found, expected| EngineError::Bare { origin: origin.clone(), what, found, expected };

    let mut model = tract_onnx::onnx().model_for_read(&mut Cursor::new(&onnx)).map_err(load)?;
    let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
    if [inputs, outputs] != [1, 1] {
        return Err(wrong("signature", format!("{inputs} input(s) and {outputs} output(s)"), "one of each"));
    }
    let fact = model.input_fact(0).map_err(load)?;
    let found = format!("{fact:?}");
    let sides: Vec<Option<usize>> =
        fact.shape.dims().map(|d| d.concretize().and_then(|d| d.to_usize().ok())).collect();
    let &[_, Some(channels), h, w] = &sides[..] else {
        return Err(wrong("input", found, "[n, channels, height, width] with a number of channels"));
    };
    let Some([height, width]) = size.or(h.zip(w).map(|(h, w)| [h, w])) else {
        return Err(wrong("input", found, "a height and width: give them as --size HxW"));
    };
    let bounded = |n: usize, limit: usize| (1..=limit).contains(&n);
    if !bounded(channels, LIMITS[0]) || !bounded(height, LIMITS[1]) || !bounded(width, LIMITS[1]) {
        return Err(wrong("input", found, "at most 16 channels and 4096 pixels a side"));
    }
    model.set_input_fact(0, f32::fact([1, channels, height, width]).into()).map_err(load)?;
    let fact = model.into_typed().map_err(load)?.output_fact(0).map_err(load)?.clone();
    let classes = match fact.shape.as_concrete() {
        Some(&[1, classes @ 1..=256, h, w]) if [h, w] == [height, width] => classes,
        _ => {
            return Err(wrong(
                "output",
                format!("{fact:?}"),
                "[n, classes, height, width] of the input's size",
            ));
        }
    };
    let manifest = manifest(path, sha256(&onnx), [channels, height, width], classes);
    Ok(Package { manifest, net: Net::Onnx(onnx.into()), origin })
}

fn manifest(path: &Path, sha256: String, [channels, height, width]: [usize; 3], classes: usize) -> Manifest {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let label = |value: u8| Label {
        value,
        name: format!("label {value}"),
        colour: Colour([255, 107, 53]),
        from: Vec::new(),
        largest: false,
    };
    let last = u8::try_from(classes.max(2) - 1).unwrap_or(u8::MAX);
    Manifest {
        format: crate::package::FORMAT,
        name: text(path.file_stem()),
        version: "none".to_owned(),
        task: "Unknown: an ONNX file without manifest".to_owned(),
        model: text(path.file_name()),
        sha256,
        orientation: Orientation::default(),
        input: Input { width, height, channels, neighbours: 0, ceiling: width.max(height), step: SIZE_STEP },
        normalise: Normalise::Window { low: 0.0, high: 1.0 },
        fit: Fit::Resize,
        output: if classes == 1 { Output::Sigmoid { threshold: 0.5 } } else { Output::Argmax },
        labels: (1..=last).map(label).collect(),
        data: None,
        metrics: Vec::new(),
    }
}
