//! Colours as DICOM recommends them: CIELab under D50, in three 16-bit numbers (C.10.7.1.1).

/// An sRGB colour as Recommended Display CIELab Value (0062,000D).
pub(super) fn cielab(rgb: [u8; 3]) -> [u16; 3] {
    // IEC 61966-2-1 to linear light, then to XYZ with the white point adapted to D50 (Bradford).
    let linear = rgb.map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    const TO_XYZ: [[f64; 3]; 3] = [
        [0.436_074_7, 0.385_064_9, 0.143_080_4],
        [0.222_504_5, 0.716_878_6, 0.060_616_9],
        [0.013_932_2, 0.097_104_5, 0.714_173_3],
    ];
    let curve = TO_XYZ.map(|row| {
        // Of the white point, which is the sum of each row.
        let share =
            row.iter().zip(linear).map(|(a, b)| a * b).sum::<f64>() / row.iter().sum::<f64>();
        if share > 216.0 / 24_389.0 {
            share.cbrt()
        } else {
            (24_389.0 / 27.0 * share + 16.0) / 116.0
        }
    });
    let [x, y, z] = curve;
    let (l, a, b) = (116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z));
    let scaled = |value: f64| value.round().clamp(0.0, 65_535.0) as u16;
    [scaled(l * 655.35), scaled((a + 128.0) * 257.0), scaled((b + 128.0) * 257.0)]
}

#[cfg(test)]
mod tests {
    use super::cielab;

    #[test]
    fn colours_are_those_of_the_tables() {
        // L*, a*, b* under D50 as colour tables have them (Lindbloom's calculator).
        let tables = [
            ([255, 255, 255], [100.0, 0.0, 0.0]),
            ([0, 0, 0], [0.0, 0.0, 0.0]),
            ([255, 0, 0], [54.29, 80.81, 69.89]),
            ([0, 255, 0], [87.82, -79.29, 80.99]),
            ([0, 0, 255], [29.57, 68.30, -112.03]),
        ];
        for (rgb, [l, a, b]) in tables {
            let [x, y, z] = cielab(rgb).map(f64::from);
            let found = [x / 655.35, y / 257.0 - 128.0, z / 257.0 - 128.0];
            for (found, expected) in found.into_iter().zip([l, a, b]) {
                assert!((found - expected).abs() < 0.05, "{rgb:?}: {found} for {expected}");
            }
        }
    }
}
