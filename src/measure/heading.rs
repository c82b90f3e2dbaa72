//! What stands above a picture.

use crate::volume::Geometry;

/// A picture's title.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Title {
    /// What it shows; wrapped, and shortened where even that is too long.
    pub text: String,
    /// What it says below that, and always whole.
    pub notice: &'static str,
}

impl From<&str> for Title {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), notice: "" }
    }
}

/// Most lines of a title without its notice.
const MOST_LINES: usize = 3;

impl Title {
    /// The lines of so many letters that it takes: one, if all fits there.
    pub(super) fn lines(&self, room: usize) -> Vec<String> {
        if self.notice.is_empty() {
            return wrapped(&self.text, room);
        }
        let whole = format!("{}, {}", self.text, self.notice);
        if whole.chars().count() <= room {
            return vec![whole];
        }
        let mut lines = wrapped(&self.text, room);
        lines.push(self.notice.to_owned());
        lines
    }
}

/// Text in lines of at most so many letters, which end at spaces where there are any.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let (mut lines, mut left): (Vec<String>, Vec<char>) = (Vec::new(), text.chars().collect());
    while left.len() > room && lines.len() + 1 < MOST_LINES {
        let space = left[..=room].iter().rposition(|letter| *letter == ' ').filter(|at| *at > 0);
        let rest = left.split_off(space.unwrap_or(room));
        lines.push(left.into_iter().collect());
        left = rest.into_iter().skip_while(|letter| *letter == ' ').collect();
    }
    if left.len() > room {
        left.truncate(room.saturating_sub(3));
        left.extend("...".chars().take(room));
    }
    lines.push(left.into_iter().collect());
    lines
}

/// What a line of so many letters can say of the volume. The convention is the last to be left out:
/// without it sides could be mistaken.
pub(super) fn caption(geometry: &Geometry, radiological: bool, room: usize) -> String {
    let [w, h, n] = geometry.size;
    let [x, y, z] = geometry.spacing;
    let convention = if radiological { ", patient's right on the left" } else { "" };
    let size = format!("{w} x {h} x {n} voxels");
    let texts = [
        format!("{size}, {x:.2} x {y:.2} x {z:.2} mm{convention}"),
        format!("{size}{convention}"),
        convention.trim_start_matches(", ").to_owned(),
    ];
    texts.into_iter().find(|text| text.len() <= room).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::volume::Affine;

    const NOTICE: &str = "research use only";

    #[test]
    fn a_title_takes_one_line_where_it_fits() {
        let title = Title { text: "MR series 3, net 1.0".to_owned(), notice: NOTICE };
        assert_eq!(title.lines(60), ["MR series 3, net 1.0, research use only"]);
        assert_eq!(title.lines(28), ["MR series 3, net 1.0", NOTICE]);
        assert_eq!(title.lines(17), ["MR series 3, net", "1.0", NOTICE]);
    }

    #[test]
    fn what_is_too_long_is_shortened() {
        let title = Title { text: "a".repeat(100), notice: NOTICE };
        let lines = title.lines(28);
        assert_eq!(lines.len(), MOST_LINES + 1);
        assert!(lines[2].ends_with("a..."));
    }

    #[test]
    fn a_narrow_picture_still_tells_the_sides() {
        let rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
        let geometry = Geometry::new([512, 512, 300], Affine(rows));
        let convention = "patient's right on the left";
        for room in [30, 50, 57, 80, 200] {
            let told = caption(&geometry, true, room);
            assert!(told.ends_with(convention) && told.len() <= room, "{room}: {told}");
        }
        assert!(caption(&geometry, true, 80).contains("1.00 mm"));
        assert_eq!(caption(&geometry, false, 30), "512 x 512 x 300 voxels");
        assert_eq!(caption(&geometry, true, 10), "");
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_and_the_notice_is_whole(text in ".{0,90}", room in 17usize..80) {
            let lines = Title { text, notice: NOTICE }.lines(room);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= room), "{lines:?}");
            prop_assert!(lines[lines.len() - 1].ends_with(NOTICE));
        }
    }
}
