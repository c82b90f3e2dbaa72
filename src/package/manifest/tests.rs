//! Tests of the manifest, and a valid one for others to bend.

use super::*;
use crate::package::Colour;

/// A valid manifest for tests to bend.
pub(crate) fn example() -> Manifest {
    Manifest {
        format: FORMAT,
        name: "example".into(),
        version: "1.0.0".into(),
        task: "An example".into(),
        model: "example.onnx".into(),
        sha256: "0".repeat(64),
        orientation: Orientation::default(),
        input: Input { width: 64, height: 48, channels: 1, neighbours: 0, ceiling: 256, step: 4 },
        accepts: Some(Accepts {
            series: vec![],
            modality: vec!["MR".into()],
            extent: Some([[20.0, 60.0]; 3]),
            spacing: None,
            slices: Some([1, 300]),
        }),
        normalise: Normalise::Percentiles { low: 0.5, high: 99.5 },
        fit: FitRule::Pad { spacing: [1.0, 1.0] },
        output: Output::Argmax,
        labels: vec![
            Label::new(1, "anterior", Colour([230, 25, 75])),
            Label::new(2, "posterior", Colour([60, 180, 75])),
        ],
        data: None,
        metrics: Vec::new(),
        selftest: None,
    }
}

#[test]
fn a_manifest_reads_back_as_written() {
    let manifest = example();
    assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
}

#[test]
fn each_normalisation_has_its_name() {
    for (normalise, kind) in [
        (Normalise::Window { low: 0.0, high: 1.0 }, "window"),
        (Normalise::Percentiles { low: 0.0, high: 1.0 }, "percentiles"),
        (Normalise::ForegroundPercentiles { low: 0.0, high: 1.0 }, "foreground-percentiles"),
        (Normalise::SlicePercentiles { low: 0.0, high: 1.0 }, "slice-percentiles"),
        (Normalise::ZScore { clip: 1.0 }, "zscore"),
    ] {
        let manifest = Manifest { normalise, ..example() };
        assert!(manifest.to_toml().contains(&format!("kind = \"{kind}\"")));
        assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
    }
}

#[test]
fn the_labels_of_the_self_test_are_kept() {
    let selftest = Some(SelfTest { sha256: "ab".repeat(32) });
    let manifest = Manifest { selftest, ..example() };
    assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
    assert!(!example().to_toml().contains("selftest"));
}

#[test]
fn an_unknown_field_is_named() {
    let text = format!("surprise = 1\n{}", example().to_toml());
    let ManifestError::Syntax(error) = Manifest::parse(&text).unwrap_err() else {
        panic!("not a syntax error")
    };
    assert!(error.to_string().contains("surprise"), "{error}");
}

fn bend(manifest: &mut Manifest) -> &mut Accepts {
    manifest.accepts.get_or_insert_default()
}

#[test]
fn a_manifest_of_before_accepts_everything() {
    let old = Manifest { accepts: None, ..example() };
    let text = old.to_toml();
    assert!(!text.contains("accepts"), "{text}");
    assert_eq!(Manifest::parse(&text).unwrap(), old);
}

#[test]
fn a_limit_that_this_version_does_not_know_is_refused_rather_than_passed_over() {
    let text = example().to_toml().replace("[accepts]", "[accepts]\nbody_part = [\"BRAIN\"]");
    assert!(matches!(
        Manifest::parse(&text),
        Err(ManifestError::Syntax(e)) if e.to_string().contains("body_part")
    ));
}

#[test]
fn each_senseless_field_is_named() {
    type Bend = fn(&mut Manifest);
    let cases: [(&str, Bend); 31] = [
        ("labels.name", |m| m.labels[0].name = " ".into()),
        ("format", |m| m.format = 2),
        ("name", |m| m.name = "two words".into()),
        ("model", |m| m.model = "../other/net.onnx".into()),
        ("sha256", |m| m.sha256 = "abc".into()),
        ("selftest.sha256", |m| m.selftest = Some(SelfTest { sha256: "g".repeat(64) })),
        ("input.width", |m| m.input.width = 0),
        ("input.width", |m| m.input.width = 66),
        ("input.height", |m| m.input.height = 260),
        ("input.channels", |m| m.input.channels = 0),
        ("input.neighbours", |m| m.input.neighbours = 5),
        ("input.step", |m| m.input.step = 0),
        ("input.step", |m| m.input.step = 6),
        ("input.width", |m| m.input = Input { width: 72, step: 16, ..m.input.clone() }),
        ("labels.from", |m| m.labels[0].from = vec![0]),
        ("labels.from", |m| m.labels[0].from = vec![1, 2]),
        ("labels.from", |m| m.labels.iter_mut().for_each(|l| l.from = vec![3])),
        ("input.ceiling", |m| m.input.ceiling = usize::MAX),
        ("fit.spacing", |m| m.fit = FitRule::Pad { spacing: [1.0, f64::NAN] }),
        ("accepts.modality", |m| bend(m).modality = vec!["MR".into(), "magnetic".into()]),
        ("accepts.extent", |m| bend(m).extent = Some([[0.0, 1.0]; 3])),
        ("accepts.extent", |m| {
            bend(m).extent = Some([[1.0, 2.0], [1.0, f64::INFINITY], [1.0, 2.0]])
        }),
        ("accepts.spacing", |m| bend(m).spacing = Some([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])),
        ("accepts.slices", |m| bend(m).slices = Some([0, 5])),
        ("normalise", |m| m.normalise = Normalise::Window { low: 1.0, high: 1.0 }),
        ("normalise", |m| m.normalise = Normalise::Percentiles { low: -1.0, high: 50.0 }),
        ("normalise", |m| m.normalise = Normalise::ForegroundPercentiles { low: 50.0, high: 50.0 }),
        ("normalise", |m| m.normalise = Normalise::SlicePercentiles { low: 0.5, high: f32::NAN }),
        ("labels", |m| m.labels[1].value = 1),
        ("labels", |m| m.labels[1].value = 3),
        ("output.threshold", |m| m.output = Output::Sigmoid { threshold: 1.0 }),
    ];
    for (field, bend) in cases {
        let mut manifest = example();
        bend(&mut manifest);
        match manifest.validate() {
            Err(ManifestError::Field { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}
