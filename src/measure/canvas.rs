//! A small picture to draw on: rectangles, text, PNG.

use font8x8::UnicodeFonts;

use crate::Size;

/// An RGB colour.
pub(super) type Rgb = [u8; 3];

/// Side of a character of [`Canvas::text`] at scale 1.
pub(super) const GLYPH: usize = 8;

/// An RGB picture.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize, background: Rgb) -> Self {
        Self { width, height, pixels: background.repeat(width * height) }
    }

    /// Sets a pixel; outside nothing happens.
    pub(super) fn set(&mut self, x: usize, y: usize, colour: Rgb) {
        if x < self.width && y < self.height {
            let at = 3 * (y * self.width + x);
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    pub(super) fn rectangle(
        &mut self,
        [x, y]: [usize; 2],
        [width, height]: [usize; 2],
        colour: Rgb,
    ) {
        for j in y..y + height {
            (x..x + width).for_each(|i| self.set(i, j, colour));
        }
    }

    /// Writes text with its upper left corner at `x`, `y`, with a dark rim that keeps it readable
    /// on any grey.
    pub(super) fn text(&mut self, [x, y]: [usize; 2], scale: usize, text: &str, colour: Rgb) {
        for (rim, colour) in [(1, [0; 3]), (0, colour)] {
            for (n, letter) in text.chars().enumerate() {
                let left = x + n * GLYPH * scale;
                for (row, bits) in glyph(letter).into_iter().enumerate() {
                    for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                        let at =
                            [left + column * scale, y + row * scale].map(|i| i.saturating_sub(rim));
                        self.rectangle(at, [scale + 2 * rim; 2], colour);
                    }
                }
            }
        }
    }

    /// The finished picture.
    pub(super) fn picture(self) -> Picture {
        Picture { size: Size::new(self.height, self.width), rgb: self.pixels }
    }
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its pixels.
    pub size: Size,
    /// Row by row, a byte each of red, green and blue.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// The picture as a PNG file.
    #[must_use]
    pub fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Size { height, width } = self.size;
        let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // Writing to memory cannot fail, and a canvas has as many pixels as it says.
        let written =
            encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.rgb));
        debug_assert!(written.is_ok());
        bytes
    }
}

fn glyph(letter: char) -> [u8; GLYPH] {
    let fallback = || font8x8::BASIC_FONTS.get('?').unwrap_or_default();
    font8x8::BASIC_FONTS
        .get(letter)
        .or_else(|| font8x8::LATIN_FONTS.get(letter))
        .unwrap_or_else(fallback)
}
