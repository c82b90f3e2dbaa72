//! Real series, read by pydicom.

use std::path::Path;

use super::cases::{Case, algorithm};
use super::judge;
use monet_dicom::objects::{Context, Slice, Source};
use monet_dicom::{Dataset, Tag, tags};
use monet_testing::judges::real_dicom;

/// Real series: names, and folders beside each other. The first are small.
pub(crate) const ALL: [(&str, &str); 4] = [
    ("liver_ct", "dcmqi_liver/ct"),
    ("hippocampus_mr", "hippocampus_mr/study1"),
    ("breast_mr", "ucsf_br06/mr_pe1"),
    ("abdomen_ct", "crlm_ct_1006/series"),
];

/// Real series with made up labels.
pub(crate) fn cases(python: &Path, series: &[(&'static str, &str)]) -> Vec<Case> {
    let Some(folder) = real_dicom() else { return Vec::new() };
    let case = |&(name, path): &(_, &str)| case(python, name, &folder.join(path));
    series.iter().map(|series| case(series).with_ellipsoids(3)).collect()
}

/// A real series, without labels.
pub(crate) fn case(python: &Path, name: &'static str, folder: &Path) -> Case {
    let dump = judge(python, &["dump", folder.to_str().unwrap()]);
    let mut first = Dataset::new();
    let mut slices = Vec::new();
    for line in dump.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["element", group, element, vr, value] => {
                let number = |text| u16::from_str_radix(text, 16).unwrap();
                let vr = vr.as_bytes().try_into().unwrap();
                first.put_bytes(Tag(number(group), number(element)), vr, unhex(value));
            }
            ["slice", class, instance, position, orientation, spacing, thickness] => {
                slices.push(Slice {
                    class_uid: class.into(),
                    instance_uid: instance.into(),
                    frame: None,
                    position: unhex(position),
                    orientation: unhex(orientation),
                    spacing: unhex(spacing),
                    thickness: unhex(thickness),
                });
            }
            _ => panic!("{line}"),
        }
    }
    let (rows, columns) =
        (first.integer(tags::ROWS).unwrap(), first.integer(tags::COLUMNS).unwrap());
    let plane = vec![0; usize::from(rows) * usize::from(columns)];
    let planes = vec![plane; slices.len()];
    let context = Context {
        source: Source { first, slice_spacing: spacing(&slices), slices, rows, columns },
        segments: Vec::new(),
        algorithm: algorithm(),
        identity: Vec::new(),
        content: Vec::new(),
        moment: None,
        series_number: None,
    };
    Case { name, context, planes }
}

/// The distance of neighbours, if it is one.
fn spacing(slices: &[Slice]) -> Option<f64> {
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        let text = std::str::from_utf8(bytes).unwrap();
        text.split('\\').map(|number| number.trim().parse().unwrap()).collect()
    };
    let places: Vec<Vec<f64>> = slices.iter().map(|slice| numbers(&slice.position)).collect();
    let step =
        |pair: &[Vec<f64>]| (0..3).map(|k| (pair[1][k] - pair[0][k]).powi(2)).sum::<f64>().sqrt();
    let steps: Vec<f64> = places.windows(2).map(step).collect();
    steps.first().copied().filter(|first| steps.iter().all(|s| (s - first).abs() < 0.01))
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}
