//! Makes a package of an ONNX file alone, so that a net without manifest can be measured and
//! described.
//!
//! The file says the shapes. [`package_from_onnx`] states the defaults for everything else.

use std::path::Path;

use tract_onnx::pb;

use super::{guard, reading, refused};
use crate::Size;
use crate::engine::EngineError;
use crate::package::{
    Colour, FitRule, Input, Label, Manifest, Net, Normalise, Output, Package, Recipe, SIZE_STEP,
    sha256,
};
use crate::text::shown;
use crate::volume::Orientation;

/// Reads an ONNX file without manifest, for slices of this height and width or, where `None`, of
/// the file's own.
///
/// - The input must be `[n, channels, height, width]`, the output `[n, classes, height, width]`.
/// - One class means a sigmoid with a threshold of 0.5, several mean a softmax.
/// - Slices are in RAS orientation and resized to the net's size.
/// - Intensities from 0 to 1 reach the net unchanged.
///
/// # Errors
/// [`EngineError::File`], [`EngineError::Refused`], [`EngineError::Bare`]
pub fn package_from_onnx(path: &Path, size: Option<Size>) -> Result<Package, EngineError> {
    let onnx = Package::read_net(path)?;
    let origin = shown(path).to_string();
    let refused = refused(&origin);
    let wrong =
        |what, found, expected| EngineError::Bare { origin: origin.clone(), what, found, expected };

    let model = reading::read(&onnx).map_err(&refused)?;
    let (inputs, outputs) = model
        .graph
        .as_ref()
        .map_or((Vec::new(), 0), |graph| (guard::inputs(graph), graph.output.len()));
    let ([input], 1) = (&inputs[..], outputs) else {
        let found = format!("{} input(s) and {outputs} output(s)", inputs.len());
        return Err(wrong("signature", found, "one of each"));
    };
    let sides = sides(input);
    let side = |n: &Option<usize>| n.map_or("?".to_owned(), |n| n.to_string());
    let found = format!("[{}]", sides.iter().map(side).collect::<Vec<_>>().join(", "));
    let &[_, Some(channels), h, w] = &sides[..] else {
        return Err(wrong(
            "input",
            found,
            "[n, channels, height, width] with a number of channels",
        ));
    };
    let own = h.zip(w).map(|(height, width)| Size { height, width });
    let Some(Size { height, width }) = size.or(own) else {
        return Err(wrong("input", found, "a height and width: give them as --size HxW"));
    };
    let bounded = |n: usize, limit: usize| (1..=limit).contains(&n);
    let sized = [height, width].iter().all(|&side| bounded(side, Recipe::MAX_SIDE));
    if !sized || !bounded(channels, Recipe::MAX_CHANNELS) {
        return Err(wrong("input", found, "at most 16 channels and 4096 pixels a side"));
    }
    let need = guard::fits(&model, [1, channels, height, width]).map_err(&refused)?;
    let classes = match need.output[..] {
        [1, classes @ 1..=256, h, w] if [h, w] == [height as u64, width as u64] => classes as usize,
        _ => {
            let found = format!("{:?}", need.output);
            return Err(wrong("output", found, "[n, classes, height, width] of the input's size"));
        }
    };
    let manifest = manifest(path, sha256(&onnx), [channels, height, width], classes);
    Ok(Package { manifest, net: Net::Onnx(onnx.into()), origin })
}

/// The shape that a file states for an input: `None` for a size that is open or no number.
fn sides(input: &pb::ValueInfoProto) -> Vec<Option<usize>> {
    use pb::tensor_shape_proto::dimension::Value::DimValue;
    let Some(pb::type_proto::Value::TensorType(tensor)) =
        input.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Vec::new();
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).take(8);
    dims.map(|dim| match dim.value {
        Some(DimValue(n)) => usize::try_from(n).ok(),
        _ => None,
    })
    .collect()
}

fn manifest(
    path: &Path,
    sha256: String,
    [channels, height, width]: [usize; 3],
    classes: usize,
) -> Manifest {
    let text =
        |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let label = |value: u8| Label::new(value, format!("label {value}"), Colour([255, 107, 53]));
    let last = u8::try_from(classes.max(2) - 1).unwrap_or(u8::MAX);
    Manifest {
        format: crate::package::FORMAT,
        name: text(path.file_stem()),
        version: "none".to_owned(),
        task: "Unknown: an ONNX file without manifest".to_owned(),
        model: text(path.file_name()),
        sha256,
        orientation: Orientation::default(),
        input: Input {
            width,
            height,
            channels,
            neighbours: 0,
            ceiling: width.max(height),
            step: SIZE_STEP,
        },
        accepts: None,
        normalise: Normalise::Window { low: 0.0, high: 1.0 },
        fit: FitRule::Resize,
        output: if classes == 1 { Output::Sigmoid { threshold: 0.5 } } else { Output::Argmax },
        labels: (1..=last).map(label).collect(),
        data: None,
        metrics: Vec::new(),
        selftest: None,
    }
}
