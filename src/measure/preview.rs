//! The preview: a montage of slices with outlined labels, gathered while slices stream by.
//!
//! Which slices will have labels is not known beforehand, and memory is bounded: labelled slices
//! are kept with a stride that doubles whenever [`KEPT`] are full, so that those kept are always
//! spread evenly over the labelled ones. Axial slices are shown in radiological convention: seen
//! from the feet, the patient's right on the left; others with anterior on the left and superior at
//! the top, where they have such an axis.

use super::canvas::{Canvas, GLYPH, Picture, Rgb};
use super::heading::{Title, caption};
use super::labels::LabelReport;
use crate::package::Label;
use crate::volume::Geometry;

/// Most slices in the picture.
const KEPT: usize = 16;
/// Most unlabelled slices kept in case no slice has a label.
const FALLBACK: usize = 4;
/// Longest side of a thumbnail, in pixels.
const KEPT_SIDE: usize = 256;
/// Longest side of a slice as drawn, in pixels.
const TILE: usize = 256;
/// Between slices and around them.
const MARGIN: usize = 12;
/// Height of a line of text.
const LINE: usize = 28;
/// Outlines reach this many pixels inwards.
const OUTLINE: usize = 2;

const BACKGROUND: Rgb = [18, 20, 24];
const BRIGHT: Rgb = [235, 235, 235];
const DIM: Rgb = [150, 155, 165];

/// Gathers slices for the picture.
#[derive(Debug)]
pub struct Preview {
    geometry: Geometry,
    labels: Vec<Label>,
    subsampling: Subsampling,
    labelled: EvenlySpread,
    others: EvenlySpread,
}

/// How a slice becomes a thumbnail: every `step`-th pixel along both axes, as a grey value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subsampling {
    width: usize,
    height: usize,
    step: usize,
}

impl Subsampling {
    fn new(geometry: &Geometry) -> Self {
        let [width, height, _] = geometry.size;
        Self { width, height, step: width.max(height).div_ceil(KEPT_SIDE).max(1) }
    }

    /// Pixels of a thumbnail.
    #[must_use]
    pub fn len(&self) -> usize {
        self.width.div_ceil(self.step) * self.height.div_ceil(self.step)
    }

    /// Whether slices have no pixels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts what the thumbnail keeps of a slice's row `y`, normalised to [0, 1], into its place.
    ///
    /// # Panics
    /// When `thumbnail`, which is to be [`Subsampling::len`] long, has no such row.
    pub fn apply(&self, y: usize, row: &[f32], thumbnail: &mut [u8]) {
        if !y.is_multiple_of(self.step) {
            return;
        }
        let kept = self.width.div_ceil(self.step);
        thumbnail[y / self.step * kept..][..kept]
            .iter_mut()
            .zip(row.iter().step_by(self.step))
            .for_each(|(grey, v)| *grey = (v.clamp(0.0, 1.0) * 255.0) as u8);
    }

    fn pick<T: Copy>(self, slice: &[T]) -> impl Iterator<Item = T> {
        slice
            .chunks_exact(self.width)
            .step_by(self.step)
            .flat_map(move |row| row.iter().step_by(self.step).copied())
    }
}

/// A slice as kept.
#[derive(Debug, Clone, Default)]
struct Tile {
    index: usize,
    thumbnail: Vec<u8>,
    labels: Vec<u8>,
}

/// A choice of the slices that come, evenly spread over them: every `stride`-th. Whenever `most`
/// are kept, every second one goes and `stride` doubles. Buffers are used again.
#[derive(Debug)]
struct EvenlySpread {
    most: usize,
    stride: usize,
    seen: usize,
    kept: Vec<Tile>,
    spare: Vec<Tile>,
}

impl EvenlySpread {
    fn new(most: usize, pixels: usize) -> Self {
        let tile = || Tile {
            index: 0,
            thumbnail: Vec::with_capacity(pixels),
            labels: Vec::with_capacity(pixels),
        };
        Self {
            most,
            stride: 1,
            seen: 0,
            kept: Vec::with_capacity(most),
            spare: (0..most).map(|_| tile()).collect(),
        }
    }

    /// The tile to fill, if this one is to be kept.
    fn next(&mut self) -> Option<&mut Tile> {
        let wanted = self.seen.is_multiple_of(self.stride);
        self.seen += 1;
        if !wanted {
            return None;
        }
        if self.kept.len() == self.most {
            self.stride *= 2;
            for i in (0..self.most).rev().filter(|i| i % 2 == 1) {
                self.spare.push(self.kept.remove(i));
            }
            // `most` is even, so this one is the first of the new stride.
        }
        self.kept.push(self.spare.pop().unwrap_or_default());
        self.kept.last_mut()
    }
}

impl Preview {
    /// For a volume of this geometry with these labels.
    #[must_use]
    pub fn new(geometry: &Geometry, labels: &[Label]) -> Self {
        let subsampling = Subsampling::new(geometry);
        let pixels = subsampling.len();
        Self {
            geometry: *geometry,
            labels: labels.to_vec(),
            subsampling,
            labelled: EvenlySpread::new(KEPT, pixels),
            others: EvenlySpread::new(FALLBACK, pixels),
        }
    }

    /// How the slices that are added become thumbnails.
    #[must_use]
    pub fn subsampling(&self) -> Subsampling {
        self.subsampling
    }

    /// Takes in a slice: its index, the thumbnail of its first channel, its labels.
    pub fn add(&mut self, index: usize, thumbnail: &[u8], labels: &[u8]) {
        let some = labels.iter().any(|&v| v > 0);
        let Some(tile) = (if some { self.labelled.next() } else { self.others.next() }) else {
            return;
        };
        tile.index = index;
        tile.thumbnail.clear();
        tile.labels.clear();
        tile.thumbnail.extend_from_slice(thumbnail);
        tile.labels.extend(self.subsampling.pick(labels));
    }

    /// Draws the picture, with a title and a legend.
    #[must_use]
    pub fn draw(mut self, title: &Title, reports: &[LabelReport]) -> Picture {
        let kept = if self.labelled.kept.is_empty() {
            &mut self.others.kept
        } else {
            &mut self.labelled.kept
        };
        let mut tiles = std::mem::take(kept);
        tiles.sort_by_key(|tile| tile.index);
        let view = View::new(&self.geometry, self.subsampling.step);
        let columns = columns(tiles.len(), view.size);
        let rows = tiles.len().div_ceil(columns);
        let [tile_width, tile_height] = view.size;
        let width = (columns * (tile_width + MARGIN) + MARGIN).max(480);
        let legend = self.labels.len().max(1) * LINE;
        let lines = title.lines((width - 2 * MARGIN) / (2 * GLYPH));
        let heading = (lines.len() + 1) * LINE + MARGIN;
        let height = heading + rows * (tile_height + MARGIN) + legend + MARGIN;
        let mut canvas = Canvas::new(width, height, BACKGROUND);
        self.heading(&mut canvas, &lines, view.letters);
        for (n, tile) in tiles.iter().enumerate() {
            let x = MARGIN + n % columns * (tile_width + MARGIN);
            let y = heading + n / columns * (tile_height + MARGIN);
            view.draw(&mut canvas, [x, y], tile, &self.labels);
        }
        self.legend(&mut canvas, height - legend - MARGIN / 2, reports);
        canvas.picture()
    }

    fn heading(&self, canvas: &mut Canvas, lines: &[String], [left, right, ..]: [char; 4]) {
        let room = canvas.width - 2 * MARGIN;
        for (n, line) in lines.iter().enumerate() {
            canvas.text([MARGIN, MARGIN + n * LINE], 2, line, BRIGHT);
        }
        let caption = caption(&self.geometry, [left, right] == ['R', 'L'], room / GLYPH);
        canvas.text([MARGIN, MARGIN + lines.len() * LINE - 4], 1, &caption, DIM);
    }

    fn legend(&self, canvas: &mut Canvas, top: usize, reports: &[LabelReport]) {
        for (n, label) in self.labels.iter().enumerate() {
            let y = top + n * LINE;
            canvas.rectangle([MARGIN, y], [16, 16], label.colour.0);
            let found = reports.iter().find(|r| r.value == label.value && r.voxels > 0);
            let found = found.map_or("not found".to_owned(), |r| format!("{:.2} ml", r.ml));
            let room = (canvas.width - 2 * MARGIN - 26) / (2 * GLYPH);
            let name: String =
                label.name.chars().take(room.saturating_sub(found.len() + 1)).collect();
            canvas.text([MARGIN + 26, y], 2, &format!("{name} {found}"), BRIGHT);
        }
    }
}

/// As many columns as make the picture about one and a half times as wide as high.
fn columns(tiles: usize, [width, height]: [usize; 2]) -> usize {
    let wanted = (1.5 * tiles as f64 * height as f64 / width as f64).sqrt().round() as usize;
    wanted.clamp(1, tiles.max(1))
}

/// How kept pixels become drawn ones.
struct View {
    /// Drawn width and height.
    size: [usize; 2],
    /// Kept width and height.
    kept: [usize; 2],
    /// Whether the axis is shown from its end.
    reversed: [bool; 2],
    /// Anatomical letters at the left, right, top and bottom.
    letters: [char; 4],
}

impl View {
    fn new(geometry: &Geometry, subsampling: usize) -> Self {
        let [width, height, _] = geometry.size;
        let extent = [width as f64 * geometry.spacing[0], height as f64 * geometry.spacing[1]];
        let scale = TILE as f64 / extent[0].max(extent[1]);
        let codes: Vec<char> = geometry.affine.orientation().to_string().chars().collect();
        // The positive ends R, A and S go to the left and to the top, as radiologists look at
        // slices.
        let reversed = [0, 1].map(|axis| "RAS".contains(codes[axis]));
        let ends = |axis: usize| {
            if reversed[axis] {
                [codes[axis], opposite(codes[axis])]
            } else {
                [opposite(codes[axis]), codes[axis]]
            }
        };
        let ([left, right], [top, bottom]) = (ends(0), ends(1));
        Self {
            size: extent.map(|mm| ((mm * scale).round() as usize).max(1)),
            kept: [width.div_ceil(subsampling), height.div_ceil(subsampling)],
            reversed,
            letters: [left, right, top, bottom],
        }
    }

    /// The kept pixels around a drawn one along an axis, and the weight of the second.
    fn tap(&self, axis: usize, at: usize) -> ([usize; 2], f32) {
        let at = if self.reversed[axis] { self.size[axis] - 1 - at } else { at };
        let last = (self.kept[axis] - 1) as f32;
        let place = (at as f32 + 0.5) * self.kept[axis] as f32 / self.size[axis] as f32 - 0.5;
        let place = place.clamp(0.0, last);
        ([place as usize, (place as usize + 1).min(last as usize)], place.fract())
    }

    fn draw(&self, canvas: &mut Canvas, [left, top]: [usize; 2], tile: &Tile, labels: &[Label]) {
        let [width, height] = self.size;
        let mut drawn = vec![0; width * height];
        for y in 0..height {
            let (rows, v) = self.tap(1, y);
            for x in 0..width {
                let (columns, u) = self.tap(0, x);
                let corner = |i: usize, j: usize| rows[j] * self.kept[0] + columns[i];
                let weights = [
                    (0, 0, (1.0 - u) * (1.0 - v)),
                    (1, 0, u * (1.0 - v)),
                    (0, 1, (1.0 - u) * v),
                    (1, 1, u * v),
                ];
                let grey: f32 = weights
                    .iter()
                    .map(|&(i, j, w)| f32::from(tile.thumbnail[corner(i, j)]) * w)
                    .sum();
                canvas.set(left + x, top + y, [grey as u8; 3]);
                drawn[y * width + x] =
                    heaviest(weights.map(|(i, j, w)| (tile.labels[corner(i, j)], w)));
            }
        }
        for (i, &value) in drawn.iter().enumerate().filter(|(_, v)| **v > 0) {
            let (x, y) = (i % width, i / width);
            let near =
                |c: usize, most: usize| c.saturating_sub(OUTLINE)..=(c + OUTLINE).min(most - 1);
            let edge =
                near(y, height).any(|b| near(x, width).any(|a| drawn[b * width + a] != value));
            if let (true, Some(label)) = (edge, labels.iter().find(|l| l.value == value)) {
                canvas.set(left + x, top + y, label.colour.0);
            }
        }
        canvas.text([left + 4, top + 4], 1, &tile.index.to_string(), BRIGHT);
        let [l, r, t, b] = self.letters.map(String::from);
        canvas.text([left + 4, top + height / 2 - GLYPH / 2], 1, &l, BRIGHT);
        canvas.text([left + width - GLYPH - 4, top + height / 2 - GLYPH / 2], 1, &r, BRIGHT);
        canvas.text([left + width / 2 - GLYPH / 2, top + 4], 1, &t, BRIGHT);
        canvas.text([left + width / 2 - GLYPH / 2, top + height - GLYPH - 4], 1, &b, BRIGHT);
    }
}

/// The label with the most weight: outlines follow half-way lines between voxels instead of their
/// edges.
fn heaviest(corners: [(u8, f32); 4]) -> u8 {
    let weight = |label: u8| corners.iter().filter(|c| c.0 == label).map(|c| c.1).sum::<f32>();
    corners
        .iter()
        .skip(1)
        .fold(corners[0].0, |best, c| if weight(c.0) > weight(best) { c.0 } else { best })
}

/// The letter at an axis's other end.
fn opposite(letter: char) -> char {
    match letter {
        'R' => 'L',
        'L' => 'R',
        'A' => 'P',
        'P' => 'A',
        'S' => 'I',
        _ => 'S',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Colour;
    use crate::volume::Affine;

    fn geometry(size: [usize; 3]) -> Geometry {
        Geometry::new(
            size,
            Affine([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]),
        )
    }

    #[test]
    fn those_kept_are_few_and_evenly_spread() {
        for n in [1, 15, 16, 17, 40, 1000] {
            let mut spread = EvenlySpread::new(KEPT, 1);
            for index in 0..n {
                if let Some(tile) = spread.next() {
                    tile.index = index;
                }
            }
            let kept: Vec<usize> = spread.kept.iter().map(|t| t.index).collect();
            assert!(kept.len() <= KEPT && kept.len() >= n.min(KEPT / 2), "{n}: {kept:?}");
            assert!(kept.windows(2).all(|w| w[1] - w[0] == spread.stride), "{n}: {kept:?}");
        }
    }

    /// Pixels of the picture, and its width.
    fn decode(png: &[u8]) -> (Vec<u8>, usize) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (pixels, info.width as usize)
    }

    #[test]
    fn a_label_on_the_patient_s_right_is_outlined_on_the_left() {
        let colour = Colour([255, 0, 0]);
        let labels = [Label::new(1, "spot", colour)];
        let mut preview = Preview::new(&geometry([32, 32, 1]), &labels);
        let mut marked = vec![0; 32 * 32];
        // High x is the patient's right in RAS, high y anterior.
        (24..30).for_each(|y| (24..30).for_each(|x| marked[y * 32 + x] = 1));
        preview.add(0, &[127; 32 * 32], &marked);
        let (pixels, width) = decode(&preview.draw(&"title".into(), &[]).png());
        let at = |i: usize| [i % width, i / width];
        let red: Vec<[usize; 2]> = pixels
            .chunks_exact(3)
            .enumerate()
            .filter(|(_, p)| *p == [255, 0, 0])
            .map(|(i, _)| at(i))
            .collect();
        let tile_top = 2 * LINE + MARGIN;
        let outline: Vec<_> = red.iter().filter(|[_, y]| *y < tile_top + TILE).collect();
        assert!(!outline.is_empty());
        assert!(outline.iter().all(|[x, y]| *x < MARGIN + TILE / 2 && *y < tile_top + TILE / 2));
    }

    #[test]
    fn slices_across_other_axes_have_their_own_letters() {
        // Array axes: anterior to posterior, inferior to superior, left to right.
        let sagittal = Affine([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
        assert_eq!(View::new(&Geometry::new([8, 8, 8], sagittal), 1).letters, ['A', 'P', 'S', 'I']);
        assert_eq!(View::new(&geometry([8, 8, 8]), 1).letters, ['R', 'L', 'A', 'P']);
    }

    #[test]
    fn volumes_of_any_shape_have_a_picture() {
        for size in [[1, 1, 1], [3, 700, 2], [600, 1, 1], [5, 4, 40]] {
            let mut preview = Preview::new(&geometry(size), &[]);
            let n = size[0] * size[1];
            let mut thumbnail = vec![1; preview.subsampling().len()];
            let row = vec![f32::NAN; size[0]];
            (0..size[1]).for_each(|y| preview.subsampling().apply(y, &row, &mut thumbnail));
            assert!(thumbnail.iter().all(|&v| v == 0));
            (0..size[2]).for_each(|i| preview.add(i, &thumbnail, &vec![0; n]));
            assert!(
                !decode(
                    &preview
                        .draw(&"ä name that is far too long for the picture to hold".into(), &[])
                        .png()
                )
                .0
                .is_empty()
            );
        }
    }
}
