//! Masks of structure sets: contours filled on the slices of an image (C.8.8.5, C.8.8.6).
//!
//! Closed contours of a region that lie on one slice are combined by exclusive or, so that an
//! inner contour is a hole. Points and open contours enclose nothing and are left out.

use super::fill::Fill;
use super::{MaskError, Plane, show, text};
use crate::dataset::{Dataset, Tag};
use crate::objects::Kind;
use crate::tags;
use crate::vector::dot;

/// How far the points of a contour may lie from its slice, as a part of the distance between
/// slices; also how far beyond the first and the last slice a contour may lie.
const OFF_PLANE: f64 = 0.5;
/// The distance between slices where there is only one, in millimetres.
const LONE_SLICE: f64 = 1.0;

/// The contours of a structure set.
#[derive(Debug, Clone)]
pub struct Contours<'a> {
    /// The regions, in the order of the structure set. Planes number them from 1.
    pub regions: Vec<Region>,
    /// Frame of Reference UID.
    pub frame_of_reference: Option<String>,
    /// Of each closed contour, the region's index and the text of its points.
    contours: Vec<(u8, &'a Dataset)>,
}

/// A region of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// ROI Number.
    pub number: i32,
    /// ROI Name.
    pub name: String,
}

/// Contours that were put onto slices.
#[derive(Debug, Clone)]
pub struct Regions<'a> {
    size: [u16; 2],
    planes: Vec<Plane>,
    /// How far along the normal each slice lies, from the lowest.
    heights: Vec<(f64, usize)>,
    /// Of each contour on a slice: the slice, the region's index, the contour.
    placed: Vec<(usize, u8, &'a Dataset)>,
    /// How many contours lie on no slice: beyond them, between them, or at an angle.
    pub left_out: usize,
}

impl<'a> Contours<'a> {
    /// Of a structure set's data set.
    ///
    /// # Errors
    ///
    /// What makes it none that can be read: see [`MaskError`].
    pub fn new(set: &'a Dataset) -> Result<Self, MaskError> {
        let class = set.text(tags::SOP_CLASS).unwrap_or_default();
        if class != Kind::Rtstruct.class_uid() {
            return Err(MaskError::Class { class: class.to_owned() });
        }
        let mut regions = Vec::new();
        for item in set.items(tags::STRUCTURE_SET_ROIS) {
            let number = needed(item, tags::ROI_NUMBER)?;
            let name = text::name(item.bytes(tags::ROI_NAME).unwrap_or_default(), set);
            regions.push(Region { number, name });
        }
        if regions.len() > usize::from(u8::MAX) {
            return Err(MaskError::Number { number: regions.len() });
        }
        let mut contours = Vec::new();
        for item in set.items(tags::ROI_CONTOURS) {
            let number: i32 = needed(item, tags::REFERENCED_ROI)?;
            let index = regions.iter().position(|region| region.number == number);
            let index = index.ok_or(MaskError::Element { tag: tags::REFERENCED_ROI })?;
            let closed = item.items(tags::CONTOURS).iter().filter(|contour| is_closed(contour));
            contours.extend(closed.map(|contour| (index as u8, contour)));
        }
        let frame = set.item(tags::REFERENCED_FRAMES_OF_REFERENCE).unwrap_or(set);
        let frame_of_reference = frame.text(tags::FRAME_OF_REFERENCE).map(str::to_owned);
        Ok(Self { regions, frame_of_reference, contours })
    }

    /// Puts the contours onto the parallel slices of an image.
    ///
    /// # Errors
    ///
    /// Contour data that is none.
    pub fn onto(&self, size: [u16; 2], planes: Vec<Plane>) -> Result<Regions<'a>, MaskError> {
        let normal = planes.first().map(Plane::normal).unwrap_or_default();
        let height = |(slice, plane): (usize, &Plane)| (dot(plane.position, normal), slice);
        let mut heights: Vec<_> = planes.iter().enumerate().map(height).collect();
        heights.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut regions = Regions { size, planes, heights, placed: Vec::new(), left_out: 0 };
        for &(region, contour) in &self.contours {
            match regions.slice_of(&points(contour)?) {
                Some(slice) => regions.placed.push((slice, region, contour)),
                None => regions.left_out += 1,
            }
        }
        regions.placed.sort_by_key(|(slice, region, _)| (*slice, *region));
        Ok(regions)
    }
}

impl Regions<'_> {
    /// The nearest slice, if all points are near enough to it.
    fn slice_of(&self, points: &[[f64; 3]]) -> Option<usize> {
        let normal = self.planes.first()?.normal();
        let first = dot(*points.first()?, normal);
        let above = self.heights.partition_point(|(height, _)| *height < first);
        let around = above.saturating_sub(1)..(above + 1).min(self.heights.len());
        let away = |at: &usize| (self.heights[*at].0 - first).abs();
        let at = around.min_by(|a, b| away(a).total_cmp(&away(b)))?;
        let (height, slice) = self.heights[at];
        let neighbours = [at.checked_sub(1), Some(at + 1)];
        let distances = neighbours.iter().flatten().filter_map(|n| self.heights.get(*n));
        let distances = distances.map(|(other, _)| (other - height).abs());
        let distance = distances.fold(f64::INFINITY, f64::min);
        let distance = if distance.is_finite() { distance } else { LONE_SLICE };
        let near = |point: &[f64; 3]| (dot(*point, normal) - height).abs() <= OFF_PLANE * distance;
        points.iter().all(near).then_some(slice)
    }

    /// The labels of a slice, row by row, and how many pixels belong to several regions.
    ///
    /// # Errors
    ///
    /// A plane of another size, or a slice that is not there.
    pub fn plane(&self, slice: usize, out: &mut [u8]) -> Result<u64, MaskError> {
        let expected = usize::from(self.size[0]) * usize::from(self.size[1]);
        let found = out.len();
        if found != expected {
            return Err(MaskError::Size { found, expected });
        }
        let plane = self.planes.get(slice).ok_or(MaskError::NoSlice { slice })?;
        out.fill(0);
        let start = self.placed.partition_point(|(at, ..)| *at < slice);
        let here = self.placed[start..].iter().take_while(|(at, ..)| *at == slice);
        let here: Vec<_> = here.collect();
        let mut fill = Fill::new(self.size);
        let mut overlaps = 0;
        for region in here.chunk_by(|a, b| a.1 == b.1) {
            fill.clear();
            for (_, _, contour) in region {
                let pixels: Vec<[f64; 2]> =
                    points(contour)?.into_iter().map(|point| plane.pixel(point)).collect();
                let next = pixels.iter().cycle().skip(1);
                pixels.iter().zip(next).for_each(|(a, b)| fill.edge(*a, *b));
            }
            overlaps += show(out, fill.inside(), region[0].1 + 1);
        }
        Ok(overlaps)
    }
}

fn is_closed(contour: &Dataset) -> bool {
    matches!(contour.text(tags::CONTOUR_TYPE), Some("CLOSED_PLANAR" | "CLOSEDPLANAR_XOR"))
}

/// The points of a contour; none of one that is empty.
fn points(contour: &Dataset) -> Result<Vec<[f64; 3]>, MaskError> {
    let wrong = || MaskError::Element { tag: tags::CONTOUR_DATA };
    if contour.bytes(tags::CONTOUR_DATA).is_none_or(|bytes| bytes.is_empty()) {
        return Ok(Vec::new());
    }
    let numbers = contour.numbers(tags::CONTOUR_DATA).ok_or_else(wrong)?;
    let (points, rest) = numbers.as_chunks();
    if rest.is_empty() { Ok(points.to_vec()) } else { Err(wrong()) }
}

fn needed<T: TryFrom<i64>>(set: &Dataset, tag: Tag) -> Result<T, MaskError> {
    set.integer(tag).ok_or(MaskError::Element { tag })
}
