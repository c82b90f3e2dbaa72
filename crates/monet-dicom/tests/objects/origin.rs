//! What objects take over from their source, what they leave out, and what they refuse.

use std::io::Cursor;
use std::sync::LazyLock;

use monet_dicom::objects::report::{self, Measurement};
use monet_dicom::objects::{Context, Kind, ObjectError, SegWriter, Warning, capture};
use monet_dicom::read::{Keep, read};
use monet_dicom::{Dataset, Tag, tags};
use proptest::prelude::*;

use super::cases::{self, Case};
use super::{measurements, rtstruct, seg};

fn parsed(file: Vec<u8>) -> Dataset {
    read(Box::new(Cursor::new(file)), &Keep::all()).unwrap().header.data
}

fn case(name: &str) -> Case {
    cases::made_up().into_iter().find(|case| case.name == name).unwrap()
}

/// One object of each kind that can be made.
fn objects(case: &Case) -> Vec<Dataset> {
    let context = &case.context;
    let report = report::write(context, Kind::Seg, &measurements(case), Vec::new()).unwrap().0;
    let capture = capture::write(context, 1, 1, &[1, 2, 3], Vec::new()).unwrap().0;
    let mut files = vec![seg(case).unwrap().0, report, capture];
    files.extend(rtstruct(case).ok().map(|(file, _)| file));
    files.into_iter().map(parsed).collect()
}

/// A value without its padding; none of an empty one.
fn value(set: &Dataset, tag: Tag) -> Option<&[u8]> {
    let bytes = set.bytes(tag)?.trim_ascii_end();
    Some(bytes.strip_suffix(b"\0").unwrap_or(bytes)).filter(|bytes| !bytes.is_empty())
}

const PATIENT_AND_STUDY: [Tag; 14] = [
    tags::CHARACTER_SET,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN,
    tags::STUDY_DESCRIPTION,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::PATIENT_AGE,
    tags::PATIENT_WEIGHT,
    tags::STUDY_UID,
    tags::STUDY_ID,
];

#[test]
fn patient_and_study_go_over_as_bytes() {
    for case in cases::made_up().into_iter().filter(|case| case.name != "ill_formed") {
        for object in objects(&case) {
            for tag in PATIENT_AND_STUDY {
                let source = value(&case.context.source.first, tag);
                if (case.name, tag) == ("undeclared", tags::CHARACTER_SET) {
                    continue;
                }
                assert_eq!(value(&object, tag), source, "{tag} of {}", case.name);
            }
        }
    }
}

#[test]
fn objects_are_told_apart_by_their_uids() {
    let case = case("plain");
    let mut uids = std::collections::HashSet::new();
    for object in objects(&case) {
        for tag in [tags::SERIES_UID, tags::SOP_INSTANCE] {
            assert!(uids.insert(object.text(tag).unwrap().to_owned()));
        }
        let source = &case.context.source;
        assert_ne!(object.text(tags::SERIES_UID), source.first.text(tags::SERIES_UID));
    }
    let change = |change: fn(&mut Context)| {
        let mut changed = case.context.clone();
        change(&mut changed);
        changed.instance_uid(Kind::Seg)
    };
    let changed = [
        change(|_| {}),
        change(|context| context.identity.push(1)),
        change(|context| context.algorithm.sha256.push('0')),
        change(|context| context.source.slices.truncate(5)),
        change(|context| context.source.slices[3].frame = Some(2)),
        change(|context| context.content.push(1)),
        change(|context| context.source.slices[3].position.push(b'0')),
        change(|context| context.source.slices[3].orientation.push(b'0')),
    ];
    assert_eq!(changed[0], case.context.instance_uid(Kind::Seg));
    let different: std::collections::HashSet<_> = changed.iter().collect();
    assert_eq!(different.len(), changed.len());
}

#[test]
fn reports_and_captures_are_told_apart_by_what_they_say() {
    let case = case("plain");
    let uid = |file: Vec<u8>| parsed(file).text(tags::SOP_INSTANCE).unwrap().to_owned();
    let context = &case.context;
    let capture =
        |pixel: u8| uid(capture::write(context, 1, 1, &[1, 2, pixel], Vec::new()).unwrap().0);
    assert_eq!(capture(3), capture(3));
    assert_ne!(capture(3), capture(4));
    let report = |volume: f64| {
        let measured = [Measurement { value: 1, volume, intensity: None }];
        uid(report::write(context, Kind::Seg, &measured, Vec::new()).unwrap().0)
    };
    assert_eq!(report(2.0), report(2.0));
    assert_ne!(report(2.0), report(2.5));
}

#[test]
fn several_values_where_one_is_allowed_are_left_out() {
    let mut case = case("plain");
    let first = &mut case.context.source.first;
    first.put_text(tags::ACCESSION_NUMBER, b"SH", "A\\B\\C");
    first.put_text(tags::PATIENT_ID, b"LO", "x".repeat(65));
    first.put_text(tags::SOFTWARE_VERSIONS, b"LO", "1.0\\2.0");
    let told = case.context.warnings(Kind::Seg).unwrap();
    let (file, warnings) = seg(&case).unwrap();
    assert_eq!(told, warnings, "what is told beforehand is what is left out");
    let object = parsed(file);
    for tag in [tags::ACCESSION_NUMBER, tags::PATIENT_ID] {
        assert_eq!(object.bytes(tag), Some(&[][..]), "{tag}");
        assert!(told.iter().any(|w| matches!(w, Warning::Invalid { tag: t, .. } if *t == tag)));
    }
    let scanner = object.item(tags::CONTRIBUTING_EQUIPMENT).unwrap();
    assert_eq!(value(scanner, tags::SOFTWARE_VERSIONS), Some(&b"1.0\\2.0"[..]));

    let two = "1.2\\1.3";
    case.context.source.first.put_text(tags::STUDY_UID, b"UI", two);
    assert!(matches!(seg(&case), Err(ObjectError::NoUid { tag: tags::STUDY_UID })));
}

#[test]
fn values_that_break_rules_are_left_out() {
    let case = case("ill_formed");
    let (file, warnings) = seg(&case).unwrap();
    let object = parsed(file);
    for tag in [tags::PATIENT_BIRTH_DATE, tags::STUDY_TIME, tags::PATIENT_SEX, tags::STUDY_ID] {
        assert_eq!(object.bytes(tag), Some(&[][..]), "{tag}");
        assert!(warnings.iter().any(|w| matches!(w, Warning::Invalid { tag: t, .. } if *t == tag)));
    }
    for tag in [tags::PATIENT_AGE, tags::PATIENT_WEIGHT, tags::BODY_PART] {
        assert_eq!(object.get(tag), None, "{tag}");
    }
    assert!(warnings.contains(&Warning::Rounded { tag: tags::IMAGE_POSITION }));
    assert!(warnings.contains(&Warning::NoCodes { value: 2 }));
}

#[test]
fn a_removed_identity_is_said_with_its_method() {
    let removed = |method: &str, code: &str| {
        let mut case = case("plain");
        let first = &mut case.context.source.first;
        first.put_text(tags::IDENTITY_REMOVED, b"CS", "YES");
        first.put_text(tags::DEIDENTIFICATION_METHOD, b"LO", method);
        let mut item = Dataset::new();
        item.put_text(tags::CODE_VALUE, b"SH", code);
        item.put_text(tags::CODE_SCHEME, b"SH", "DCM");
        item.put_text(tags::CODE_MEANING, b"LO", "Basic");
        first.put_items(tags::DEIDENTIFICATION_CODES, vec![item]);
        let object = parsed(seg(&case).unwrap().0);
        let said = object.text(tags::IDENTITY_REMOVED).is_some();
        (said, object.text(tags::DEIDENTIFICATION_METHOD).is_some()) == (true, !method.is_empty())
            && object.items(tags::DEIDENTIFICATION_CODES).len() == usize::from(code == "113100")
    };
    assert!(removed("by hand", "113100") && removed("", "113100"));
    assert!(removed("by hand", "a code\nof two lines"));
    // Neither a method nor a code.
    assert!(!removed("", "a code of very many characters"));
}

#[test]
fn losses_of_the_source_are_those_of_the_object() {
    for (name, lossy, ratio) in [("plain", "00", None), ("lossy", "01", Some("12.5"))] {
        let object = parsed(seg(&case(name)).unwrap().0);
        assert_eq!(object.text(tags::LOSSY), Some(lossy));
        assert_eq!(object.text(tags::LOSSY_RATIO), ratio);
        assert_eq!(object.text(tags::LOSSY_METHOD).is_some(), ratio.is_some());
    }
}

#[test]
fn own_text_fits_into_the_source_s_characters() {
    let label = |name: &str, label: &str| {
        let mut case = case(name);
        case.context.segments[0].label = label.into();
        let (file, warnings) = seg(&case).unwrap();
        let object = parsed(file);
        let set = object.text(tags::CHARACTER_SET).unwrap_or_default().to_owned();
        let label = object.item(tags::SEGMENTS).unwrap().bytes(tags::SEGMENT_LABEL).unwrap();
        (set, label.trim_ascii_end().to_vec(), warnings.contains(&Warning::Characters))
    };
    let expected = |set: &str, label: &[u8], warned| (set.to_owned(), label.to_vec(), warned);
    assert_eq!(label("plain", "Niere"), expected("", b"Niere", false));
    assert_eq!(label("plain", "größe"), expected("ISO_IR 192", "größe".as_bytes(), false));
    assert_eq!(label("latin1", "größe"), expected("ISO_IR 100", b"gr\xf6\xdfe", false));
    assert_eq!(label("latin1", "肝 a\\b"), expected("ISO_IR 100", b"? a/b", true));
    assert_eq!(label("kanji", "größe"), expected("", b"gr??e", true));
}

#[test]
fn a_character_set_is_spelled_as_it_should_be() {
    let found = |set: &str, name: &[u8]| {
        let mut case = case("plain");
        case.context.source.first.put_text(tags::CHARACTER_SET, b"CS", set);
        case.context.source.first.put_bytes(tags::PATIENT_NAME, b"PN", name);
        let (file, warnings) = seg(&case).unwrap();
        let object = parsed(file);
        // Text of a set that is not known is left out, and told, unless it is UTF-8.
        let left_out = value(&object, tags::PATIENT_NAME) != Some(name);
        let tag = tags::PATIENT_NAME;
        assert_eq!(left_out, warnings.contains(&Warning::Invalid { tag, vr: "PN" }));
        let set = value(&object, tags::CHARACTER_SET).unwrap_or_default();
        let guessed = warnings.contains(&Warning::Undeclared);
        (String::from_utf8(set.to_vec()).unwrap(), guessed, left_out)
    };
    let latin1 = b"M\xfcller";
    assert_eq!(found("ISO-IR 100", latin1), ("ISO_IR 100".into(), false, false));
    assert_eq!(found("ISO_IR 144", latin1), ("ISO_IR 144".into(), false, false));
    assert_eq!(found("", latin1), (String::new(), false, true));
    assert_eq!(found("latin-1", latin1), (String::new(), false, true));
    assert_eq!(found("ISO_IR 192", latin1), ("ISO_IR 192".into(), false, true));
    assert_eq!(found("", b"A\x1b[31m"), (String::new(), false, true));
    assert_eq!(found("ISO_IR 6", "Müller".as_bytes()), ("ISO_IR 192".into(), true, false));
    assert_eq!(found("ISO_IR 6", b"Mueller"), (String::new(), false, false));
    let two = "ISO_IR 100\\ISO 2022 IR 87";
    assert_eq!(found(two, latin1), (two.into(), false, false));
}

proptest! {
    /// Whatever a source holds, an object of it can be read, or is refused.
    #[test]
    fn nonsense_in_a_source_does_no_harm(
        tag in prop::sample::select(&PATIENT_AND_STUDY[..]),
        value in prop::collection::vec(any::<u8>(), 0..70),
        place in "[-+]?[0-9]{0,20}[.]?[0-9]{0,20}(e[-+]?[0-9]{1,3})?",
        field in 0..4,
    ) {
        let mut case = SMALL.clone();
        case.context.source.first.put_bytes(tag, b"UN", value);
        let slice = &mut case.context.source.slices[0];
        match field {
            0 => slice.position = format!("{place}\\0\\{place}").into_bytes(),
            1 => slice.spacing = format!("{place}\\1").into_bytes(),
            2 => slice.orientation = format!("1\\0\\0\\0\\{place}\\0").into_bytes(),
            _ => slice.thickness = place.into_bytes(),
        }
        if let Ok((file, _)) = seg(&case) {
            parsed(file);
        }
        if let Ok((file, _)) = rtstruct(&case) {
            parsed(file);
        }
    }
}

static SMALL: LazyLock<Case> = LazyLock::new(|| case("odd_size"));

#[test]
fn what_cannot_become_an_object_is_refused() {
    let plain = case("plain");
    let refused = |change: fn(&mut Context)| {
        let mut context = plain.context.clone();
        change(&mut context);
        SegWriter::new(&context, Cursor::new(Vec::new())).map(|_| ()).unwrap_err()
    };
    let blank = refused(|context| {
        context.source.first.put_text(tags::STUDY_UID, b"UI", "");
    });
    assert!(matches!(blank, ObjectError::NoUid { tag } if tag == tags::STUDY_UID));
    let blank = refused(|context| context.source.slices[1].instance_uid = "1.02".into());
    assert!(matches!(blank, ObjectError::NoUid { tag } if tag == tags::SOP_INSTANCE));
    let none = refused(|context| context.segments.clear());
    assert!(matches!(none, ObjectError::Empty));
    let twice = refused(|context| context.segments[1].value = 1);
    assert!(matches!(twice, ObjectError::SegmentValue { value: 1 }));

    let mut writer = SegWriter::new(&plain.context, Cursor::new(Vec::new())).unwrap();
    let size = writer.push(&[0; 5]).unwrap_err();
    assert!(matches!(size, ObjectError::PlaneSize { found: 5, expected: 3072 }));
    let unknown = writer.push(&[77; 3072]).unwrap_err();
    assert!(matches!(unknown, ObjectError::UnknownValue { value: 77 }));
    writer.push(&plain.planes[0]).unwrap();
    let few = writer.finish(Vec::new()).unwrap_err();
    assert!(matches!(few, ObjectError::PlaneCount { found: 1, expected: 12 }));

    let nonsense = Measurement { value: 1, volume: f64::NAN, intensity: None };
    let refused = report::write(&plain.context, Kind::Seg, &[nonsense], Vec::new()).unwrap_err();
    assert!(matches!(refused, ObjectError::Measurement { value: 1 }));
    let refused = capture::write(&plain.context, 2, 2, &[0; 4], Vec::new()).unwrap_err();
    assert!(matches!(refused, ObjectError::PictureSize { found: 4, .. }));
}
