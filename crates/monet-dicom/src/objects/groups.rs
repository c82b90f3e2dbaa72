//! Functional groups and dimensions of segmentations (C.7.6.16, C.7.6.17).

use std::borrow::Cow;

use super::codes::{SEGMENTATION, SOURCE_IMAGE};
use super::context::{Context, Kind, Slice};
use super::error::Warning;
use super::header::{Header, slice_reference};
use super::text::Encoder;
use crate::dataset::{Dataset, Tag};
use crate::tags;
use crate::valid::{self, Characters};

/// Makes the functional groups of a segmentation's frames.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    context: &'a Context,
    text: Encoder,
    /// Whether frames lie in the patient, and not merely on their source images (A.51.5.1).
    in_space: bool,
    /// Whether all slices have one orientation, byte for byte.
    one_orientation: bool,
    /// Whether a frame belongs to one segment.
    by_segment: bool,
}

/// A frame: its slice, and by which dimension index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Index of the slice.
    pub(super) slice: usize,
    /// The place of the slice among those that have frames, from 1.
    pub(super) rank: u32,
    /// The segment's number, where a frame belongs to one.
    pub(super) segment: Option<u16>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(context: &'a Context, header: &mut Header, by_segment: bool) -> Self {
        let slices = &context.source.slices;
        let placed = |slice: &Slice| {
            numbers(&slice.position) == Some(3)
                && numbers(&slice.orientation) == Some(6)
                && numbers(&slice.spacing) == Some(2)
        };
        let in_space = context.frame_of_reference().is_some() && slices.iter().all(placed);
        if in_space {
            header.frame_of_reference(context);
            if slices.iter().any(|slice| numerals(&slice.position).1) {
                header.warnings.push(Warning::Rounded { tag: tags::IMAGE_POSITION });
            }
        }
        if !in_space {
            // Of an image whose planes do not say it themselves (C.7.6.1).
            header.set.put_text(tags::PATIENT_ORIENTATION, b"CS", "");
        }
        let one_orientation = slices.iter().all(|s| s.orientation == slices[0].orientation);
        Self { context, text: header.text.clone(), in_space, one_orientation, by_segment }
    }

    /// Adds the dimensions, and the groups that all frames share.
    pub(super) fn describe(&self, kind: Kind, to: &mut Dataset) {
        let organization = self.context.uid(kind, "dimensions");
        let mut item = Dataset::new();
        item.put_text(tags::DIMENSION_ORGANIZATION, b"UI", &organization);
        to.put_items(tags::DIMENSION_ORGANIZATIONS, vec![item]);
        let index = |pointer, group, label: &str| {
            let mut item = Dataset::new();
            item.put_text(tags::DIMENSION_ORGANIZATION, b"UI", &organization);
            item.put_bytes(tags::DIMENSION_POINTER, b"AT", tag_bytes(pointer));
            item.put_bytes(tags::DIMENSION_GROUP, b"AT", tag_bytes(group));
            item.put_text(tags::DIMENSION_LABEL, b"LO", label);
            item
        };
        let mut dimensions = Vec::new();
        if self.by_segment {
            let (number, group) = (tags::REFERENCED_SEGMENT, tags::SEGMENT_IDENTIFICATION);
            dimensions.push(index(number, group, "Segment"));
        }
        dimensions.push(if self.in_space {
            index(tags::IMAGE_POSITION, tags::PLANE_POSITION, "Position")
        } else {
            index(tags::IN_STACK_POSITION, tags::FRAME_CONTENT_SEQUENCE, "Position in stack")
        });
        to.put_items(tags::DIMENSION_INDEX, dimensions);
        to.put_items(tags::SHARED, vec![self.shared()]);
    }

    fn shared(&self) -> Dataset {
        let mut shared = Dataset::new();
        if !self.in_space {
            return shared;
        }
        let first = &self.context.source.slices[0];
        let mut measures = Dataset::new();
        measures.put_bytes(tags::PIXEL_SPACING, b"DS", numerals(&first.spacing).0);
        let between = self.context.source.slice_spacing.map(decimal);
        if numbers(&first.thickness) == Some(1) {
            measures.put_bytes(tags::SLICE_THICKNESS, b"DS", numerals(&first.thickness).0);
        } else if let Some(between) = &between {
            measures.put_text(tags::SLICE_THICKNESS, b"DS", between);
        }
        if let Some(between) = &between {
            measures.put_text(tags::SLICE_SPACING, b"DS", between);
        }
        shared.put_items(tags::PIXEL_MEASURES, vec![measures]);
        if self.one_orientation {
            shared.put_items(tags::PLANE_ORIENTATION, vec![orientation(first)]);
        }
        shared
    }

    /// The groups of a frame.
    pub(super) fn frame(&self, frame: Frame) -> Dataset {
        let slice = &self.context.source.slices[frame.slice];
        let mut groups = Dataset::new();
        groups.put_items(tags::DERIVATION_IMAGE, vec![self.derivation(slice)]);
        groups.put_items(tags::FRAME_CONTENT_SEQUENCE, vec![self.content(frame)]);
        if self.in_space {
            let mut position = Dataset::new();
            position.put_bytes(tags::IMAGE_POSITION, b"DS", numerals(&slice.position).0);
            groups.put_items(tags::PLANE_POSITION, vec![position]);
            if !self.one_orientation {
                groups.put_items(tags::PLANE_ORIENTATION, vec![orientation(slice)]);
            }
        }
        if let Some(number) = frame.segment {
            let mut segment = Dataset::new();
            segment.put_u16(tags::REFERENCED_SEGMENT, &[number]);
            groups.put_items(tags::SEGMENT_IDENTIFICATION, vec![segment]);
        }
        groups
    }

    /// From which image a frame comes.
    fn derivation(&self, slice: &Slice) -> Dataset {
        let mut source = slice_reference(slice);
        source.put_text(tags::LOCATIONS_PRESERVED, b"CS", "YES");
        self.text.put_codes(&mut source, tags::PURPOSE, [&SOURCE_IMAGE]);
        let mut derivation = Dataset::new();
        derivation.put_items(tags::SOURCE_IMAGES, vec![source]);
        self.text.put_codes(&mut derivation, tags::DERIVATION_CODES, [&SEGMENTATION]);
        derivation
    }

    fn content(&self, frame: Frame) -> Dataset {
        let mut content = Dataset::new();
        if !self.in_space {
            // A dimension index by the place in a stack is that place (C.7.6.16.2.2).
            content.put_text(tags::STACK_ID, b"SH", "1");
            content.put_u32(tags::IN_STACK_POSITION, &[frame.rank]);
        }
        let index: Vec<u32> =
            frame.segment.map(u32::from).into_iter().chain([frame.rank]).collect();
        content.put_u32(tags::DIMENSION_VALUES, &index);
        content
    }
}

fn orientation(slice: &Slice) -> Dataset {
    let mut item = Dataset::new();
    item.put_bytes(tags::IMAGE_ORIENTATION, b"DS", numerals(&slice.orientation).0);
    item
}

fn tag_bytes(Tag(group, element): Tag) -> Vec<u8> {
    [group.to_le_bytes(), element.to_le_bytes()].concat()
}

/// The finite numbers of decimal text.
pub(super) fn parsed(bytes: &[u8]) -> Option<Vec<f64>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = |value: &str| {
        let number = value.trim_matches([' ', '\0']).parse::<f64>().ok()?;
        number.is_finite().then_some(number)
    };
    text.split('\\').map(number).collect()
}

/// How many finite numbers decimal text has.
fn numbers(bytes: &[u8]) -> Option<usize> {
    parsed(bytes).map(|numbers| numbers.len())
}

/// Decimal text as it is, or rounded where a value has more than the 16 characters that receivers
/// accept, and which of both.
fn numerals(bytes: &[u8]) -> (Cow<'_, [u8]>, bool) {
    // An odd length gets its padding again when it is written.
    let bytes = bytes.trim_ascii_end();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if valid::value(crate::Vr(*b"DS"), bytes, Characters::Bytes) {
        return (Cow::Borrowed(bytes), false);
    }
    let rounded = parsed(bytes).unwrap_or_default().into_iter().map(decimal);
    (Cow::Owned(rounded.collect::<Vec<_>>().join("\\").into_bytes()), true)
}

/// A number in 16 characters at most, as exact as these allow.
pub(super) fn decimal(number: f64) -> String {
    let short = format!("{number}");
    if short.len() <= 16 {
        return short;
    }
    let plain = (0..=14).rev().map(|digits| format!("{number:.digits$}"));
    let scientific = (0..=10).rev().map(|digits| format!("{number:.digits$e}"));
    // Plain digits lose a small number's, and a large one does not fit.
    let small = number.abs() < 1e-4 || number.abs() >= 1e14;
    let mut candidates: Box<dyn Iterator<Item = String>> =
        if small { Box::new(scientific) } else { Box::new(plain) };
    candidates.find(|text| text.len() <= 16).unwrap_or_else(|| "0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_text_stays_as_it_is_where_it_can() {
        let plain = b"-1.500\\ 2e1\\+3 ";
        assert_eq!(numerals(plain).0, b"-1.500\\ 2e1\\+3".as_slice());
        let (rounded, is_rounded) = numerals(b"-1.23456789012345678\\2");
        assert_eq!((&*rounded, is_rounded), (b"-1.2345678901235\\2".as_slice(), true));
    }

    proptest! {
        #[test]
        fn numbers_fit_16_characters(number in prop::num::f64::NORMAL | prop::num::f64::ZERO) {
            let text = decimal(number);
            prop_assert!(text.len() <= 16, "{text}");
            let back: f64 = text.parse().unwrap();
            prop_assert!((back - number).abs() <= number.abs() * 1e-8, "{number} is {text}");
        }
    }
}
