//! How far slices reach along their normal, where their distances differ.

/// A distance of more times those beside it, or of more times the usual one, is a gap.
const GAP: f64 = 3.0;
/// The same where distances are whole multiples of a usual one.
const WHOLE_GAP: f64 = 1.5;

/// How far each slice reaches to the slice before it and to the slice after it, in millimetres:
/// half the distance to it, and at either end as far as to the other side. A slice reaches into a
/// gap as if the slice beyond it were not missing, so that what was not seen does not count.
///
/// `along` has the heights of the slices, ascending; `usual` is the distance of which all
/// distances are whole multiples, if there is one.
#[must_use]
pub fn reaches(along: &[f64], usual: Option<f64>) -> Vec<[f64; 2]> {
    let between: Vec<f64> = along.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Of each pair of neighbours, how far apart they count to the lower and to the upper one.
    let counted = |at: usize| -> [f64; 2] {
        let own = between[at];
        let beside = [at.checked_sub(1), Some(at + 1)].map(|at| between.get(at?).copied());
        match usual {
            Some(usual) if own > WHOLE_GAP * usual => [usual; 2],
            Some(_) => [own; 2],
            None => match beside.into_iter().flatten().reduce(f64::max) {
                Some(most) if own > GAP * most => beside.map(|other| other.unwrap_or(most)),
                _ => [own; 2],
            },
        }
    };
    let counted: Vec<[f64; 2]> = (0..between.len()).map(counted).collect();
    let reach = |slice: usize| {
        let before = slice.checked_sub(1).map(|at| counted[at][1] / 2.0);
        let after = counted.get(slice).map(|distances| distances[0] / 2.0);
        [before.or(after), after.or(before)].map(Option::unwrap_or_default)
    };
    (0..along.len()).map(reach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(along: &[f64], usual: Option<f64>) -> Vec<f64> {
        reaches(along, usual).iter().map(|[before, after]| before + after).collect()
    }

    #[test]
    fn a_slice_reaches_half_way_to_its_neighbours() {
        assert_eq!(lengths(&[0.0, 1.0, 3.0, 6.0], None), [1.0, 1.5, 2.5, 3.0]);
        assert_eq!(reaches(&[0.0, 1.0, 3.0], None)[1], [0.5, 1.0]);
        assert_eq!(lengths(&[2.0, 5.0], None), [3.0, 3.0]);
    }

    #[test]
    fn what_is_missing_does_not_count() {
        assert_eq!(lengths(&[0.0, 2.0, 8.0, 10.0], Some(2.0)), [2.0; 4]);
        assert_eq!(lengths(&[0.0, 6.0, 8.0], Some(2.0)), [2.0; 3]);
        // An uneven stack with a hole.
        assert_eq!(lengths(&[0.0, 1.0, 21.0, 23.0], None), [1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn even_slices_are_as_long_as_their_distance() {
        for usual in [None, Some(2.0)] {
            assert_eq!(lengths(&[1.0, 3.0, 5.0, 7.0], usual), [2.0; 4]);
        }
    }
}
