//! Two profiles against each other, step by step and class by class.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Profile;

/// A time in both profiles, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Step, class or figure.
    pub name: String,
    /// In the first; `None` where it has no such step.
    pub a_ms: Option<f64>,
    /// In the second.
    pub b_ms: Option<f64>,
    /// Change from the first to the second.
    pub percent: Option<f64>,
}

/// What changed from one profile to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Median slice.
    pub slice: Change,
    /// Steps by name, in the first's order, then those that only the second has.
    pub steps: Vec<Change>,
    /// Sums over steps that cost alike.
    pub classes: Vec<Change>,
}

impl Difference {
    /// The class that changed most, and by how many percent; none where no class is in both.
    #[must_use]
    pub fn worst_class(&self) -> Option<(&str, f64)> {
        let changes = self.classes.iter().filter_map(|c| Some((c.name.as_str(), c.percent?)));
        changes.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
    }
}

fn change(name: &str, a_ms: Option<f64>, b_ms: Option<f64>) -> Change {
    let percent = a_ms.zip(b_ms).filter(|(a, _)| *a > 0.0).map(|(a, b)| 100.0 * (b / a - 1.0));
    Change { name: name.into(), a_ms, b_ms, percent }
}

/// Compares two profiles.
#[must_use]
pub fn diff(a: &Profile, b: &Profile) -> Difference {
    let time =
        |p: &Profile, name: &str| p.steps.iter().find(|s| s.name == name).map(|s| s.median_ms);
    let mut steps: Vec<Change> =
        a.steps.iter().map(|s| change(&s.name, Some(s.median_ms), time(b, &s.name))).collect();
    let new = b.steps.iter().filter(|s| time(a, &s.name).is_none());
    steps.extend(new.map(|s| change(&s.name, None, Some(s.median_ms))));
    let classes = |p: &Profile| {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        p.steps.iter().for_each(|s| *sums.entry(s.class()).or_default() += s.median_ms);
        sums
    };
    let (of_a, of_b) = (classes(a), classes(b));
    let mut names: Vec<&String> = of_a.keys().chain(of_b.keys()).collect();
    names.sort();
    names.dedup();
    let classes =
        names.iter().map(|n| change(n, of_a.get(*n).copied(), of_b.get(*n).copied())).collect();
    Difference {
        slice: change("slice", Some(a.latency_ms.median), Some(b.latency_ms.median)),
        steps,
        classes,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn steps_are_matched_by_name() {
        let (a, mut b) = (sample(), sample());
        b.steps[0].median_ms *= 1.5;
        b.steps[1].name = "three".into();
        let found = diff(&a, &b);
        assert_eq!(found.slice.percent, Some(0.0));
        assert_eq!(
            found.steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
            ["one", "two", "three"]
        );
        assert!((found.steps[0].percent.expect("both") - 50.0).abs() < 1e-9);
        assert_eq!((found.steps[1].b_ms, found.steps[2].a_ms), (None, None));
        assert_eq!(found.classes.len(), 2);
        let (class, percent) = found.worst_class().expect("both have it");
        assert!(class.starts_with("convolve 16 x ") && (percent - 50.0).abs() < 1e-9);
    }
}
