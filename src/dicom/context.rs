//! What DICOM objects say of a segmentation: its source, the labels, the device.

use monet_dicom::objects::{Algorithm, Code, Context, Segment, Slice, Source};
use monet_dicom::read::{Keep, ReadError};
use monet_dicom::series::Image;

use super::Series;
use crate::package::{self, Label, Manifest};

/// The device that DICOM objects name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Manufacturer.
    pub manufacturer: String,
    /// Manufacturer's Model Name.
    pub model: String,
    /// Device Serial Number.
    pub serial: String,
}

impl Default for Device {
    /// This software, with a serial number that follows from the machine's own identifier
    /// (`/etc/machine-id`) and does not show it.
    fn default() -> Self {
        let id = std::fs::read("/etc/machine-id").unwrap_or_default();
        let uid = monet_dicom::uid::derived(&[b"monet serial", &id]);
        Self {
            manufacturer: "MoNet-on-device".to_owned(),
            model: "monet".to_owned(),
            serial: uid[uid.len() - 12..].to_owned(),
        }
    }
}

/// What the objects of a segmentation say. `settings` is what else the labels follow from.
///
/// # Errors
/// The file of the first slice cannot be read any more.
pub(super) fn context(
    series: &Series,
    manifest: &Manifest,
    device: &Device,
    settings: &[u8],
) -> Result<Context, ReadError> {
    let (_, image, place) = series.slice(0);
    let first = place.open(&Keep::all())?.header.data;
    let shape = series.shape();
    let [rows, columns] = image.size.map(|n| n as u16);
    Ok(Context {
        source: Source {
            first,
            slices: (0..series.slices()).map(|index| slice(series, index)).collect(),
            rows,
            columns,
            slice_spacing: shape.is_regular.then_some(shape.distance),
        },
        segments: manifest.labels.iter().map(segment).collect(),
        algorithm: Algorithm {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sha256: manifest.sha256.clone(),
            manufacturer: device.manufacturer.clone(),
            model: device.model.clone(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            serial: device.serial.clone(),
        },
        identity: settings.to_vec(),
        content: Vec::new(),
        moment: None,
        series_number: None,
    })
}

fn slice(series: &Series, index: usize) -> Slice {
    let (slice, image, _) = series.slice(index);
    let is_multi_frame = |image: &Image| image.slices.len() > 1;
    Slice {
        class_uid: image.class.clone(),
        instance_uid: image.instance.clone(),
        frame: is_multi_frame(image).then_some(slice.frame + 1),
        position: slice.position_text.clone(),
        orientation: slice.orientation_text.clone(),
        spacing: slice.spacing_text.clone(),
        thickness: slice.thickness.map_or(Vec::new(), |mm| mm.to_string().into_bytes()),
    }
}

fn segment(label: &Label) -> Segment {
    let code = |code: &package::Code| Code {
        value: code.value.clone().into(),
        scheme: code.scheme.clone().into(),
        meaning: code.meaning.clone().into(),
    };
    let codes = label.codes.as_ref();
    Segment {
        value: label.value,
        label: label.name.clone(),
        colour: label.colour.0,
        category: codes.map(|codes| code(&codes.category)),
        kind: codes.map(|codes| code(&codes.kind)),
        modifiers: codes.map_or(Vec::new(), |codes| codes.modifiers.iter().map(code).collect()),
        region: codes.and_then(|codes| codes.region.as_ref()).map(code),
    }
}
