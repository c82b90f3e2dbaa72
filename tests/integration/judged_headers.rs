//! Random headers, judged by nibabel and SimpleITK: the same corners in the world, or an error.
//!
//! `MONET_HEADERS` is their number, 2,000 when not given. Where the judges differ from one another,
//! the table in `src/volume/forms.rs` says which of them is followed.

use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use monet::volume::{Affine, NiftiHeader, VolumeWarning};
use monet_testing::judges;

/// Headers that one run of the judges takes.
const BATCH: usize = 2000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.next() as usize % values.len()]
    }

    /// True in one of `n`.
    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

type Rows = [[f64; 4]; 3];

/// A header to be. Lengths are in its unit.
#[derive(Debug, Clone)]
struct Header {
    two: bool,
    big_endian: bool,
    dim: [i64; 8],
    /// Millimetres are multiplied by this.
    factor: f64,
    units: i32,
    pixdim: [f64; 8],
    codes: [i32; 2],
    quatern: [f64; 3],
    qoffset: [f64; 3],
    srow: Rows,
    /// Whether the sform's axes are perpendicular and as long as `pixdim` says: what ITK takes.
    plain_sform: bool,
}

/// A unit quaternion without its first part.
fn quaternion(random: &mut Random) -> [f64; 3] {
    let [u, v, w] = [random.unit(), random.unit(), random.unit()];
    // Uniform over rotations; Shoemake, "Uniform Random Rotations", Graphics Gems III (1992).
    let (p, q) = ((1.0 - u).sqrt(), u.sqrt());
    let [b, c, d] = [p * (TAU * v).cos(), q * (TAU * w).sin(), q * (TAU * w).cos()];
    let stretched = |to: f64| {
        let norm = (b * b + c * c + d * d).sqrt();
        [b, c, d].map(|v| v * to / norm)
    };
    match random.next() % 10 {
        0 => random.of(&[
            [0.0; 3],
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0],
            [0.6, 0.8, 0.0],
        ]),
        // Half a turn but for rounding, and a little less or more than half.
        1 => stretched(1.0),
        2 => {
            let lack = 10f64.powf(random.between(-9.0, -4.0));
            stretched((1.0 - lack).sqrt())
        }
        3 => {
            let excess = 10f64.powf(random.between(-9.0, 0.5));
            stretched(1.0 + excess)
        }
        _ => [b, c, d],
    }
}

/// Rows of a rotation.
fn rotation([b, c, d]: [f64; 3]) -> [[f64; 3]; 3] {
    let norm = (b * b + c * c + d * d).max(1.0);
    let [b, c, d] = [b, c, d].map(|v| v / norm.sqrt());
    let a = (1.0 - b * b - c * c - d * d).max(0.0).sqrt();
    [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - c * c - b * b],
    ]
}

impl Header {
    fn new(random: &mut Random) -> Self {
        let rank = random.of(&[3, 3, 3, 3, 4, 4, 5, 7, 2, 0]);
        let mut dim = [rank, 0, 0, 0, 1, 1, 1, 1];
        (1..4).for_each(|i| dim[i] = 1 + (random.next() % 512) as i64);
        if random.one_in(4) {
            dim[4] = random.of(&[0, 1, 2, 3]);
        }
        if random.one_in(60) {
            dim[random.of(&[1, 2, 3, 4])] = random.of(&[0, -1, -300]);
        }
        let (units, factor) = random.of(&[
            (2, 1.0),
            (2, 1.0),
            (0, 1.0),
            (1, 1e-3),
            (3, 1e3),
            (10, 1.0),
            (19, 1e3),
            (25, 1e-3),
            (6, 1.0),
        ]);
        let mut spacing = [0.0; 3].map(|_: f64| random.between(0.1, 6.0) * factor);
        let offset =
            |random: &mut Random| [0.0; 3].map(|_: f64| random.between(-400.0, 400.0) * factor);
        let (qoffset, soffset) = (offset(random), offset(random));
        let quatern = quaternion(random);
        let turned = rotation(quaternion(random));
        let mirror = random.of(&[1.0, -1.0]);
        let mut srow: Rows = std::array::from_fn(|row| {
            let [x, y, z] = turned[row];
            [x * spacing[0], y * spacing[1], z * spacing[2] * mirror, soffset[row]]
        });
        let mut plain_sform = true;
        match random.next() % 12 {
            0 => {
                plain_sform = false;
                let shear = random.between(0.001, 0.6);
                (0..3).for_each(|row| srow[row][1] += shear * srow[row][2]);
            }
            1 => {
                plain_sform = false;
                let axis = random.of(&[0, 1, 2]);
                match random.of(&[0, 1, 2]) {
                    0 => srow[axis] = [0.0; 4],
                    1 => srow[axis][axis] = random.of(&[f64::NAN, f64::INFINITY]),
                    _ => (0..3).for_each(|row| srow[row][axis] = srow[row][(axis + 1) % 3]),
                }
            }
            _ => {}
        }
        if random.one_in(4) {
            let axis = random.of(&[0, 1, 2]);
            spacing[axis] =
                random.of(&[0.0, f64::NAN, -spacing[axis], f64::INFINITY, 2.0 * factor]);
            plain_sform = false;
        }
        let [x, y, z] = spacing;
        let qfac = random.of(&[1.0, 1.0, 1.0, -1.0, -1.0, 0.0, 2.0, -3.0, f64::NAN]);
        let mut header = Self {
            two: random.one_in(5),
            big_endian: random.one_in(3),
            dim,
            factor,
            units,
            pixdim: [qfac, x, y, z, 1.0, 1.0, 1.0, 1.0],
            codes: [(); 2].map(|()| random.of(&[0, 0, 0, 1, 1, 1, 2, 4, 5, 7, -1, 300])),
            quatern,
            qoffset,
            srow,
            plain_sform,
        };
        if random.one_in(40) {
            header.quatern[random.of(&[0, 1, 2])] = f64::NAN;
        }
        if random.one_in(40) {
            header.qoffset[random.of(&[0, 1, 2])] = f64::INFINITY;
        }
        if !header.two {
            header.round();
        }
        header
    }

    /// To what 32 bits hold.
    fn round(&mut self) {
        let all = self.pixdim.iter_mut().chain(&mut self.quatern).chain(&mut self.qoffset);
        all.chain(self.srow.iter_mut().flatten()).for_each(|v| *v = f64::from(*v as f32));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; if self.two { 544 } else { 352 }];
        let mut put = |at: usize, bytes: &[u8]| {
            let ordered: Vec<u8> = if self.big_endian {
                bytes.iter().rev().copied().collect()
            } else {
                bytes.to_vec()
            };
            out[at..at + bytes.len()].copy_from_slice(&ordered);
        };
        let form = || self.quatern.iter().chain(&self.qoffset).chain(self.srow.iter().flatten());
        if self.two {
            put(0, &540i32.to_le_bytes());
            put(12, &2i16.to_le_bytes());
            put(14, &8i16.to_le_bytes());
            self.dim.iter().enumerate().for_each(|(i, v)| put(16 + 8 * i, &v.to_le_bytes()));
            self.pixdim.iter().enumerate().for_each(|(i, v)| put(104 + 8 * i, &v.to_le_bytes()));
            put(168, &544i64.to_le_bytes());
            self.codes.iter().enumerate().for_each(|(i, v)| put(344 + 4 * i, &v.to_le_bytes()));
            form().enumerate().for_each(|(i, v)| put(352 + 8 * i, &v.to_le_bytes()));
            put(500, &self.units.to_le_bytes());
            out[4..12].copy_from_slice(b"n+2\0\r\n\x1a\n");
        } else {
            put(0, &348i32.to_le_bytes());
            self.dim
                .iter()
                .enumerate()
                .for_each(|(i, v)| put(40 + 2 * i, &(*v as i16).to_le_bytes()));
            put(70, &2i16.to_le_bytes());
            put(72, &8i16.to_le_bytes());
            self.pixdim
                .iter()
                .enumerate()
                .for_each(|(i, v)| put(76 + 4 * i, &(*v as f32).to_le_bytes()));
            put(108, &352f32.to_le_bytes());
            put(123, &[self.units as u8]);
            self.codes
                .iter()
                .enumerate()
                .for_each(|(i, v)| put(252 + 2 * i, &(*v as i16).to_le_bytes()));
            form().enumerate().for_each(|(i, v)| put(256 + 4 * i, &(*v as f32).to_le_bytes()));
            out[344..348].copy_from_slice(b"n+1\0");
        }
        out
    }

    fn declared(&self) -> [bool; 2] {
        self.codes.map(|code| code > 0)
    }

    fn sform_spans_space(&self) -> bool {
        Affine(self.srow).is_invertible()
    }

    fn qform_is_finite(&self) -> bool {
        self.quatern.iter().chain(&self.qoffset).all(|v| v.is_finite())
    }

    /// Whether monet is to read it at all.
    fn is_readable(&self) -> bool {
        let rank = self.dim[0];
        let dims = (3..=7).contains(&rank)
            && (1..=rank as usize).all(|i| self.dim[i] > 0 || (self.dim[i] == 0 && i > 3));
        let [qform, sform] = self.declared();
        dims && (sform && self.sform_spans_space()
            || qform && self.qform_is_finite()
            || !qform && !sform)
    }

    /// Whose word counts, by the table of differences.
    fn judges(&self) -> Judges {
        let [qform, sform] = self.declared();
        let known = self.codes.map(|code| (0..=5).contains(&code));
        let positive = self.pixdim[1..4].iter().all(|v| *v >= 0.0 || v.is_nan());
        let spacings = self.pixdim[1..4].iter().all(|v| v.is_finite() && *v > 0.0);
        if sform && self.sform_spans_space() {
            let itk = self.plain_sform && (!qform || self.codes[1] == 1);
            return Judges { nibabel: known[1], nibabel_qform: false, itk };
        }
        if qform {
            let lack = 1.0 - self.quatern.iter().map(|v| v * v).sum::<f64>();
            // In version 1 nibabel's bound for rounding is another one; its refusals are none of
            // ours.
            let turn = self.two || !(1e-7..4e-7).contains(&lack);
            let qfac = self.pixdim[0].abs() == 1.0 || self.pixdim[0] == 0.0 || self.pixdim[0] > 0.0;
            let nibabel = turn && qfac && self.pixdim[1..4].iter().all(|v| v.is_finite());
            return Judges {
                nibabel: false,
                nibabel_qform: nibabel,
                itk: positive && !sform_is_taken_by_itk(self),
            };
        }
        Judges {
            nibabel: spacings || self.pixdim[1..4].iter().all(|v| v.is_finite()),
            nibabel_qform: false,
            itk: false,
        }
    }
}

/// ITK compares a degenerate sform in its own way; where one is declared beside a qform, its word
/// is not asked.
fn sform_is_taken_by_itk(header: &Header) -> bool {
    header.declared()[1]
}

#[derive(Debug, Clone, Copy)]
struct Judges {
    nibabel: bool,
    nibabel_qform: bool,
    itk: bool,
}

/// How far corners are apart, in millimetres.
fn apart(size: [usize; 3], ours: &Affine, theirs: &Affine) -> f64 {
    let corner = |i: usize| {
        [0, 1, 2].map(|axis| if i >> axis & 1 == 1 { size[axis] as f64 - 1.0 } else { 0.0 })
    };
    let distance = |i: usize| {
        let (p, q) = (ours.apply(corner(i)), theirs.apply(corner(i)));
        (0..3).map(|k| (p[k] - q[k]).powi(2)).sum::<f64>().sqrt()
    };
    (0..8).map(distance).fold(0.0, f64::max)
}

/// What the judges were asked and what they could say.
#[derive(Debug, Default)]
struct Count {
    read: usize,
    refused: usize,
    by_nibabel: usize,
    by_itk: usize,
    by_both: usize,
}

fn judge(folder: &Path, python: &Path, headers: &[Header], count: &mut Count) {
    let paths: Vec<_> = (0..headers.len()).map(|i| folder.join(format!("{i}.nii"))).collect();
    headers.iter().zip(&paths).for_each(|(header, path)| fs::write(path, header.bytes()).unwrap());
    let list = folder.join("list.txt");
    let line = |(header, path): (&Header, &PathBuf)| {
        format!("{}\t{}\n", path.display(), header.judges().itk)
    };
    fs::write(&list, headers.iter().zip(&paths).map(line).collect::<String>()).unwrap();
    let script = judges::judge("headers");
    let output = Command::new(python).arg(script).arg(&list).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<[Option<Rows>; 3]> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(said.len(), headers.len());
    for ((header, path), [best, qform, itk]) in headers.iter().zip(&paths).zip(said) {
        let read = NiftiHeader::read(path).map(|header| header.grid);
        assert_eq!(read.is_ok(), header.is_readable(), "{header:?}: {read:?}");
        let Ok(read) = read else {
            count.refused += 1;
            continue;
        };
        count.read += 1;
        let alone = header.declared() == [false; 2];
        assert_eq!(read.warnings().contains(&VolumeWarning::NoAffine), alone, "{header:?}");
        let judges = header.judges();
        let millimetres = |rows: Rows| Affine(rows.map(|row| row.map(|v| v / header.factor)));
        let nibabel = best
            .filter(|_| judges.nibabel)
            .or(qform.filter(|_| judges.nibabel_qform))
            .map(millimetres);
        let itk = itk.filter(|_| judges.itk).map(Affine);
        count.by_nibabel += usize::from(nibabel.is_some());
        count.by_itk += usize::from(itk.is_some());
        count.by_both += usize::from(nibabel.is_some() && itk.is_some());
        let tolerance = 1e-3 * read.size().into_iter().max().unwrap() as f64;
        for (name, theirs) in [("nibabel", nibabel), ("SimpleITK", itk)] {
            let Some(theirs) = theirs else { continue };
            let distance = apart(read.size(), &read.geometry().affine, &theirs);
            assert!(
                distance <= tolerance,
                "{name} places it {distance} mm away, at {theirs:?}: {read:?} of {header:?}"
            );
        }
    }
}

#[test]
fn nibabel_and_itk_place_random_headers_alike() {
    let Some(python) = judges::python() else {
        return;
    };
    let wanted = std::env::var("MONET_HEADERS")
        .map_or(BATCH, |n| n.parse().expect("MONET_HEADERS is a number"));
    let folder = tempfile::tempdir().unwrap();
    let (mut random, mut count, mut done) = (Random(16), Count::default(), 0);
    while done < wanted {
        let headers: Vec<_> =
            (0..BATCH.min(wanted - done)).map(|_| Header::new(&mut random)).collect();
        judge(folder.path(), &python, &headers, &mut count);
        done += headers.len();
    }
    println!("{done} headers: {count:?}");
    assert!(count.read * 2 > done, "most are read: {count:?}");
    assert!(
        count.by_nibabel * 3 > count.read * 2 && count.by_itk * 5 > count.read,
        "most are judged: {count:?}"
    );
}
