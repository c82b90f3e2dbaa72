//! The options that say which part of a volume, and which volumes, `segment` takes.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use monet::volume::Region;

/// A part of each volume, and whether one that the package does not accept is segmented.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct RegionArgs {
    /// Segment only a box, given in voxels of the file's axes: first:after of each, counted from 0;
    /// an end that is left out is the volume's own. The mask has the whole grid. Intensities are
    /// normalised by what lies in the box
    #[arg(long, value_name = "X:X,Y:Y,Z:Z", value_parser = voxels, conflicts_with = "region_mm")]
    region: Option<Region>,
    /// The same in millimetres towards right, anterior and superior, lowest:highest of each: voxels
    /// whose centres lie in the box
    #[arg(long, value_name = "R:R,A:A,S:S", value_parser = millimetres, allow_hyphen_values = true)]
    region_mm: Option<Region>,
    /// Segment volumes that are not what the package was made for, too (`monet inspect` shows what
    /// it accepts), with a warning
    #[arg(long)]
    pub(super) accept_any: bool,
}

impl RegionArgs {
    /// The part, where one is named.
    pub(super) fn region(&self) -> Option<Region> {
        self.region.or(self.region_mm)
    }
}

fn voxels(text: &str) -> Result<Region> {
    ends(text, "10:60,20:80,5:40").map(Region::Voxels)
}

fn millimetres(text: &str) -> Result<Region> {
    let ends = ends::<f64>(text, "-40:-10,-45:5,-30:10")?;
    if let Some(bad) = ends.iter().flatten().flatten().find(|mm| !mm.is_finite()) {
        bail!("{bad} is no coordinate");
    }
    Ok(Region::Millimetres(ends))
}

/// Both ends along three axes, each of which may be left out.
fn ends<T: FromStr>(text: &str, example: &str) -> Result<[[Option<T>; 2]; 3]> {
    let end = |text: &str| match text.trim() {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let axis = |text: &str| text.split_once(':').and_then(|(a, b)| Some([end(a)?, end(b)?]));
    let axes: Option<Vec<_>> = text.split(',').map(axis).collect();
    axes.and_then(|axes| axes.try_into().ok()).with_context(|| {
        format!("expected two ends along each of three axes, as in {example} or :,:,5:40")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_name_a_box_are_read() {
        let found = voxels("10:60, :80,5:").unwrap();
        assert_eq!(
            found,
            Region::Voxels([[Some(10), Some(60)], [None, Some(80)], [Some(5), None]])
        );
        let found = millimetres("-40.5:-10,:,-3e1:").unwrap();
        let expected = [[Some(-40.5), Some(-10.0)], [None, None], [Some(-30.0), None]];
        assert_eq!(found, Region::Millimetres(expected));
    }

    #[test]
    fn what_is_no_box_is_refused_with_an_example() {
        for text in [
            "",
            "1:2",
            "1:2,3:4",
            "1:2,3:4,5:6,7:8",
            "1,2,3",
            "a:b,c:d,e:f",
            "-1:4,1:2,1:2",
            "1.5:4,1:2,1:2",
        ] {
            assert!(voxels(text).unwrap_err().to_string().contains("as in 10:60"), "{text}");
        }
        for text in ["nan:1,1:2,1:2", "1:inf,1:2,1:2", "x:1,1:2,1:2"] {
            assert!(millimetres(text).is_err(), "{text}");
        }
    }
}
