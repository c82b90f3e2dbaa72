//! Stacks and labels that objects are made of: made up ones, each with something odd.

use monet_dicom::objects::{Algorithm, Code, Context, Segment, Slice, Source};
use monet_dicom::{Dataset, Tag, tags};

/// A stack and its labels.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) context: Context,
    /// A plane for each slice.
    pub(crate) planes: Vec<Vec<u8>>,
}

impl Case {
    pub(crate) fn size(&self) -> [usize; 3] {
        let source = &self.context.source;
        [source.slices.len(), source.rows.into(), source.columns.into()]
    }

    /// The same with ellipsoids for labels, one for each of so many segments.
    pub(crate) fn with_ellipsoids(mut self, segments: u8) -> Self {
        self.context.segments = (1..=segments).map(segment).collect();
        let [slices, rows, columns] = self.size();
        let mut random = 12_345_u64;
        let mut uniform = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as f64 / f64::from(1_u32 << 31)
        };
        let sizes = [slices, rows, columns].map(|n| n as f64);
        let ellipsoids: Vec<[[f64; 3]; 2]> = (0..segments)
            .map(|_| [sizes.map(|n| n * uniform()), sizes.map(|n| n * (0.1 + 0.25 * uniform()))])
            .collect();
        for (slice, plane) in self.planes.iter_mut().enumerate() {
            for (at, pixel) in plane.iter_mut().enumerate() {
                let place = [slice, at / columns, at % columns].map(|n| n as f64 + 0.5);
                let inside = |[centre, radius]: &[[f64; 3]; 2]| {
                    (0..3).map(|k| ((place[k] - centre[k]) / radius[k]).powi(2)).sum::<f64>() < 1.0
                };
                *pixel = ellipsoids.iter().rposition(inside).map_or(0, |at| at as u8 + 1);
            }
        }
        self
    }
}

/// A segment with codes, of which every third has none.
fn segment(value: u8) -> Segment {
    let coded = value % 3 != 2;
    let organ = Code::new("91723000", "SCT", "Anatomical Structure");
    Segment {
        value,
        label: format!("Organ {value}"),
        colour: [value.wrapping_mul(77), 200, 255 - value],
        category: coded.then_some(organ),
        kind: coded.then_some(Code::new("15776009", "SCT", "Pancreas")),
        modifiers: if value % 3 == 1 { vec![Code::new("7771000", "SCT", "Left")] } else { vec![] },
        region: value.is_multiple_of(3).then_some(Code::new("818983003", "SCT", "Abdomen")),
    }
}

pub(crate) fn algorithm() -> Algorithm {
    Algorithm {
        name: "pancreas".into(),
        version: "1.2.0".into(),
        sha256: "00ff".repeat(16),
        manufacturer: "MoNet-on-device".into(),
        model: "monet".into(),
        software: "0.1.0".into(),
        serial: "1234".into(),
    }
}

/// The first instance of a CT series.
fn first(rows: u16, columns: u16) -> Dataset {
    let mut set = Dataset::new();
    for (tag, vr, value) in [
        (tags::IMAGE_TYPE, b"CS", "ORIGINAL\\PRIMARY\\AXIAL"),
        (tags::SOP_CLASS, b"UI", "1.2.840.10008.5.1.4.1.1.2"),
        (tags::STUDY_DATE, b"DA", "20260131"),
        (tags::SERIES_DATE, b"DA", "20260131"),
        (tags::STUDY_TIME, b"TM", "101112"),
        (tags::SERIES_TIME, b"TM", "101213.5"),
        (tags::ACCESSION_NUMBER, b"SH", "A17"),
        (tags::MODALITY, b"CS", "CT"),
        (tags::MANUFACTURER, b"LO", "Scanner Works"),
        (tags::REFERRING_PHYSICIAN, b"PN", "House^G"),
        (tags::STUDY_DESCRIPTION, b"LO", "Abdomen"),
        (tags::MODEL_NAME, b"LO", "Tube 3"),
        (tags::PATIENT_NAME, b"PN", "Doe^Jane"),
        (tags::PATIENT_ID, b"LO", "P-1"),
        (tags::PATIENT_BIRTH_DATE, b"DA", "19700101"),
        (tags::PATIENT_SEX, b"CS", "F"),
        (tags::PATIENT_AGE, b"AS", "056Y"),
        (tags::BODY_PART, b"CS", "ABDOMEN"),
        (tags::STUDY_UID, b"UI", "1.2.826.0.1.1"),
        (tags::SERIES_UID, b"UI", "1.2.826.0.1.1.4"),
        (tags::STUDY_ID, b"SH", "S1"),
        (tags::SERIES_NUMBER, b"IS", "4"),
        (tags::FRAME_OF_REFERENCE, b"UI", "1.2.826.0.1.1.9"),
        (tags::POSITION_REFERENCE, b"LO", ""),
        (tags::LOSSY, b"CS", "00"),
    ] {
        set.put_text(tag, vr, value);
    }
    set.put_u16(tags::ROWS, &[rows]);
    set.put_u16(tags::COLUMNS, &[columns]);
    set
}

/// A stack of axial slices at such heights, without labels.
fn stack(name: &'static str, rows: u16, columns: u16, heights: &[f64]) -> Case {
    let slice = |(i, z): (usize, &f64)| Slice {
        class_uid: "1.2.840.10008.5.1.4.1.1.2".into(),
        instance_uid: format!("1.2.826.0.1.1.4.{}", i + 1),
        frame: None,
        position: format!("-20.50\\-30.25\\{z:+.2}").into_bytes(),
        orientation: b"1.000000\\0.0\\0\\0\\1\\0".to_vec(),
        spacing: b"0.75\\0.50".to_vec(),
        thickness: b"2.5".to_vec(),
    };
    let steps: Vec<f64> = heights.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let regular = steps.iter().all(|step| (step - steps[0]).abs() < 1e-6);
    let context = Context {
        source: Source {
            first: first(rows, columns),
            slices: heights.iter().enumerate().map(slice).collect(),
            rows,
            columns,
            slice_spacing: steps.first().copied().filter(|_| regular),
        },
        segments: vec![segment(1), segment(2)],
        algorithm: algorithm(),
        identity: name.as_bytes().to_vec(),
        content: Vec::new(),
        moment: None,
        series_number: None,
    };
    let plane = vec![0; usize::from(rows) * usize::from(columns)];
    Case { name, context, planes: vec![plane; heights.len()] }
}

fn heights(count: usize, step: f64) -> Vec<f64> {
    (0..count).map(|i| -100.0 + step * i as f64).collect()
}

fn put(case: &mut Case, tag: Tag, vr: &[u8; 2], bytes: &[u8]) {
    case.context.source.first.put_bytes(tag, vr, bytes);
}

/// All made up cases.
pub(crate) fn made_up() -> Vec<Case> {
    let mut cases = vec![
        stack("plain", 64, 48, &heights(12, 2.5)).with_ellipsoids(3),
        rings(),
        stack("empty", 24, 40, &heights(6, 2.5)),
        stack("one_slice", 33, 31, &[7.25]).with_ellipsoids(2),
        stack("odd_size", 5, 7, &heights(9, 2.5)).with_ellipsoids(3),
        stack("many_segments", 40, 44, &heights(20, 2.5)).with_ellipsoids(40),
    ];
    let gaps: Vec<f64> =
        heights(12, 2.5).into_iter().enumerate().filter(|(i, _)| *i != 5).map(|(_, z)| z).collect();
    cases.push(stack("gap", 32, 32, &gaps).with_ellipsoids(2));
    cases.push(tilted());
    cases.push(sagittal());
    cases.push(multi_frame());
    cases.push(no_frame_of_reference());
    cases.push(bare());
    cases.push(latin1());
    cases.push(undeclared());
    cases.push(utf8());
    cases.push(kanji());
    cases.push(ill_formed());
    cases.push(lossy());
    cases
}

/// Rings in rings, of square pixels, with specks in the corners: contours with holes.
fn rings() -> Case {
    let mut case = stack("rings", 40, 40, &heights(5, 2.5));
    for (slice, plane) in case.planes.iter_mut().enumerate() {
        for (at, pixel) in plane.iter_mut().enumerate() {
            let [row, column] = [at / 40, at % 40].map(|n| n as f64 - 19.5);
            let ring = (row.hypot(column) / 3.0) as usize + slice;
            *pixel = if row.abs() + column.abs() > 30.0 {
                (at * 7 + at / 3) as u8 % 3
            } else {
                [1, 0, 1, 2, 1][ring % 5]
            };
        }
    }
    for slice in &mut case.context.source.slices {
        slice.spacing = b"0.8\\0.8".to_vec();
    }
    case
}

/// The gantry leans 15 degrees: slices are shifted against each other.
fn tilted() -> Case {
    let mut case = stack("tilted", 32, 32, &heights(10, 2.5)).with_ellipsoids(2);
    for (i, slice) in case.context.source.slices.iter_mut().enumerate() {
        slice.orientation = b"1\\0\\0\\0\\0.9659258\\-0.2588190".to_vec();
        slice.position = format!("-20\\-30\\{}", -100.0 + 2.5 * i as f64).into_bytes();
    }
    case.context.source.slice_spacing = Some(2.5 * 0.965_925_8);
    case
}

fn sagittal() -> Case {
    let mut case = stack("sagittal", 32, 24, &heights(8, 2.0)).with_ellipsoids(2);
    for (i, slice) in case.context.source.slices.iter_mut().enumerate() {
        slice.orientation = b"0\\1\\0\\0\\0\\-1".to_vec();
        slice.position = format!("{}\\-30.5\\40.125", -8.0 + 2.0 * i as f64).into_bytes();
    }
    case
}

/// One instance holds all slices, the last first.
fn multi_frame() -> Case {
    let mut case = stack("multi_frame", 20, 30, &heights(7, 2.5)).with_ellipsoids(2);
    let class = "1.2.840.10008.5.1.4.1.1.2.1";
    for (i, slice) in case.context.source.slices.iter_mut().enumerate() {
        slice.class_uid = class.into();
        slice.instance_uid = "1.2.826.0.1.1.4.77".into();
        slice.frame = Some(7 - i as u32);
    }
    put(&mut case, tags::SOP_CLASS, b"UI", class.as_bytes());
    case
}

fn no_frame_of_reference() -> Case {
    let mut case = stack("no_frame_of_reference", 20, 30, &heights(7, 2.5)).with_ellipsoids(2);
    case.context.source.first.remove(tags::FRAME_OF_REFERENCE);
    case
}

/// Only what an object cannot do without.
fn bare() -> Case {
    let mut case = stack("bare", 20, 30, &heights(3, 2.5)).with_ellipsoids(2);
    let first = &case.context.source.first;
    let mut bare = Dataset::new();
    for tag in [tags::STUDY_UID, tags::SERIES_UID, tags::FRAME_OF_REFERENCE] {
        bare.put(first.get(tag).unwrap().clone());
    }
    case.context.source.first = bare;
    case.context.source.slices.iter_mut().for_each(|slice| slice.thickness.clear());
    case
}

fn latin1() -> Case {
    let mut case = stack("latin1", 16, 16, &heights(4, 2.5)).with_ellipsoids(2);
    put(&mut case, tags::CHARACTER_SET, b"CS", b"ISO_IR 100");
    put(&mut case, tags::PATIENT_NAME, b"PN", "Müller^Jörg".as_bytes());
    case.context.segments[0].label = "Niere (groß)".into();
    case
}

/// A name beyond ASCII in a file that names no character set.
fn undeclared() -> Case {
    let mut case = stack("undeclared", 16, 16, &heights(4, 2.5)).with_ellipsoids(2);
    put(&mut case, tags::PATIENT_NAME, b"PN", "Müller^Jörg".as_bytes());
    case
}

fn utf8() -> Case {
    let mut case = stack("utf8", 16, 16, &heights(4, 2.5)).with_ellipsoids(2);
    put(&mut case, tags::CHARACTER_SET, b"CS", b"ISO_IR 192");
    put(&mut case, tags::PATIENT_NAME, b"PN", "Wang^XiaoDong=王^小东".as_bytes());
    case.context.segments[0].label = "Leber – 肝臓".into();
    case
}

/// The name of PS3.5, annex H.3.1.
fn kanji() -> Case {
    let mut case = stack("kanji", 16, 16, &heights(4, 2.5)).with_ellipsoids(2);
    put(&mut case, tags::CHARACTER_SET, b"CS", b"\\ISO 2022 IR 87");
    let name =
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
    put(&mut case, tags::PATIENT_NAME, b"PN", name);
    case
}

/// Values that break their representation's rules, as scanners write them.
fn ill_formed() -> Case {
    let mut case = stack("ill_formed", 16, 16, &heights(4, 2.5)).with_ellipsoids(2);
    put(&mut case, tags::PATIENT_BIRTH_DATE, b"DA", b"1970.01.01");
    put(&mut case, tags::STUDY_TIME, b"TM", b"10:11:12");
    put(&mut case, tags::PATIENT_SEX, b"CS", b"female");
    put(&mut case, tags::PATIENT_AGE, b"AS", b"56");
    put(&mut case, tags::PATIENT_WEIGHT, b"DS", b"70 kg");
    put(&mut case, tags::BODY_PART, b"CS", b"Abdomen/Pelvis");
    put(&mut case, tags::STUDY_ID, b"SH", b"a study of very many characters");
    put(&mut case, tags::SERIES_NUMBER, b"IS", b"2147483647");
    for (i, slice) in case.context.source.slices.iter_mut().enumerate() {
        let z = 2.5 * i as f64;
        slice.position = format!("-20.12345678901234567\\-30\\{z}").into_bytes();
    }
    case
}

fn lossy() -> Case {
    let mut case = stack("lossy", 16, 16, &heights(4, 2.5)).with_ellipsoids(2);
    put(&mut case, tags::LOSSY, b"CS", b"01");
    put(&mut case, tags::LOSSY_RATIO, b"DS", b"12.5");
    put(&mut case, tags::LOSSY_METHOD, b"CS", b"ISO_10918_1");
    case
}
