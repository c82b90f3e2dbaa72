//! Plots as PNG: curves over steps, drawn dot by dot.

use font8x8::UnicodeFonts;

/// Size of a plot.
const SIZE: [usize; 2] = [760, 420];

/// Room left, above, right and below the axes.
const MARGIN: [usize; 4] = [70, 30, 20, 40];

/// Side of a character.
const GLYPH: usize = 8;

/// Marks on an axis, about.
const MARKS: usize = 5;

type Rgb = [u8; 3];

const INK: Rgb = [40, 40, 40];
const GRID: Rgb = [225, 225, 225];
/// Colours of curves and boxes in turn (Okabe and Ito 2008: told apart by the colour-blind, too).
pub const COLOURS: [Rgb; 6] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233]];

/// A curve: its name and its points.
pub type Curve = (String, Vec<(f64, f64)>);

/// A plot in the making: a picture and the range that its axes show.
struct Plot {
    pixels: Vec<u8>,
    x: [f64; 2],
    y: [f64; 2],
}

/// Curves over a common axis, as a PNG file.
#[must_use]
pub fn curves(title: &str, x_name: &str, curves: &[Curve]) -> Vec<u8> {
    let points = || {
        curves.iter().flat_map(|(_, points)| points).filter(|p| p.0.is_finite() && p.1.is_finite())
    };
    let mut plot = Plot::new(range(points().map(|p| p.0)), range(points().map(|p| p.1)));
    plot.axes(title, x_name, true);
    // Names stand beside the title, from the right.
    let mut left = SIZE[0] - MARGIN[2] + 2 * GLYPH;
    for (i, (name, points)) in curves.iter().enumerate().rev() {
        let colour = COLOURS[i % COLOURS.len()];
        points.windows(2).for_each(|pair| plot.line(pair[0], pair[1], colour));
        left = left.saturating_sub(GLYPH * (name.chars().count() + 2));
        plot.text([left, 10], name, colour);
    }
    plot.png()
}

impl Plot {
    fn new(x: [f64; 2], y: [f64; 2]) -> Self {
        Self { pixels: vec![255; 3 * SIZE[0] * SIZE[1]], x, y }
    }

    fn set(&mut self, x: usize, y: usize, colour: Rgb) {
        if x < SIZE[0] && y < SIZE[1] {
            let at = 3 * (y * SIZE[0] + x);
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Where a point of the axes' range lies in the picture.
    fn place(&self, (x, y): (f64, f64)) -> [f64; 2] {
        let [left, top, right, bottom] = MARGIN.map(|m| m as f64);
        let part = |value: f64, [low, high]: [f64; 2]| (value - low) / (high - low);
        let (width, height) = (SIZE[0] as f64 - left - right, SIZE[1] as f64 - top - bottom);
        [left + part(x, self.x) * width, top + (1.0 - part(y, self.y)) * height]
    }

    /// A line of two dots' width between two points of the axes' range; none to or from what is no
    /// number.
    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: Rgb) {
        let ([x0, y0], [x1, y1]) = (self.place(from), self.place(to));
        let length = (x1 - x0).abs().max((y1 - y0).abs());
        if !length.is_finite() {
            return;
        }
        for i in 0..=length.ceil() as usize {
            let t = i as f64 / length.ceil().max(1.0);
            let (x, y) =
                ((x0 + (x1 - x0) * t).round() as usize, (y0 + (y1 - y0) * t).round() as usize);
            [(x, y), (x + 1, y), (x, y + 1)].into_iter().for_each(|(x, y)| self.set(x, y, colour));
        }
    }

    fn axes(&mut self, title: &str, x_name: &str, numbers: bool) {
        let ([x0, x1], [y0, y1]) = (self.x, self.y);
        for y in marks(self.y) {
            self.line((x0, y), (x1, y), GRID);
            let text = short(y);
            let [left, at] = self.place((x0, y));
            let left = (left as usize).saturating_sub(GLYPH * text.len() + 6);
            self.text([left, at as usize - GLYPH / 2], &text, INK);
        }
        for x in marks(self.x).into_iter().filter(|_| numbers) {
            let text = short(x);
            let [at, bottom] = self.place((x, y0));
            self.text([at as usize - GLYPH * text.len() / 2, bottom as usize + 6], &text, INK);
        }
        self.line((x0, y0), (x1, y0), INK);
        self.line((x0, y0), (x0, y1), INK);
        self.text([MARGIN[0], 10], title, INK);
        self.text([SIZE[0] / 2 - GLYPH * x_name.len() / 2, SIZE[1] - 14], x_name, INK);
    }

    fn text(&mut self, [x, y]: [usize; 2], text: &str, colour: Rgb) {
        for (n, letter) in text.chars().enumerate() {
            let rows =
                font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter));
            for (row, bits) in rows.unwrap_or_default().into_iter().enumerate() {
                (0..GLYPH)
                    .filter(|column| bits >> column & 1 == 1)
                    .for_each(|column| self.set(x + n * GLYPH + column, y + row, colour));
            }
        }
    }

    fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, SIZE[0] as u32, SIZE[1] as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // Writing to memory cannot fail, and there are as many pixels as the header says.
        let written =
            encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.pixels));
        debug_assert!(written.is_ok());
        bytes
    }
}

/// Least and most, never equal.
#[must_use]
pub fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let [low, high] =
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)]);
    match low.partial_cmp(&high) {
        Some(std::cmp::Ordering::Less) => [low, high],
        Some(std::cmp::Ordering::Equal) => [low - 0.5, high + 0.5],
        _ => [0.0, 1.0],
    }
}

/// Round values within a range.
#[must_use]
pub fn marks([low, high]: [f64; 2]) -> Vec<f64> {
    let rough = (high - low) / MARKS as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|&s| s >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (first..=(high / step + 1e-9).floor() as i64).map(|n| n as f64 * step).collect()
}

/// A number in as few digits as tell marks apart.
#[must_use]
pub fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within() {
        assert_eq!(marks([0.0, 1.0]).len(), 6);
        assert_eq!(marks([3.0, 98.0]), [20.0, 40.0, 60.0, 80.0]);
        assert_eq!(short(0.30000000000000004), "0.3");
    }

    #[test]
    fn odd_curves_draw_all_the_same() {
        for points in
            [vec![], vec![(0.0, 1.0)], vec![(0.0, f64::NAN), (1.0, 2.0), (2.0, f64::INFINITY)]]
        {
            let png = curves("none", "step", &[("dice".into(), points)]);
            assert_eq!(&png[1..4], b"PNG");
        }
    }
}
