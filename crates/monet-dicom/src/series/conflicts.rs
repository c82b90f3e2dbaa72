//! Instances that are there several times: the same, or not the same at all.
//!
//! A SOP Instance UID names one instance. Where two files have one UID and different data sets,
//! nothing says which of them is the instance.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use super::{Image, Place, Stack};
use crate::read::{ReadError, fill, meta};

/// Images whose instance an earlier image has, too, with another data set: index of the earlier
/// one, and of the later. `None` where `stop` says so, which is asked before each comparison.
pub(super) fn conflicts(
    images: &[Image],
    places: &[Place],
    stop: &dyn Fn() -> bool,
) -> Option<Vec<[usize; 2]>> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut conflicts = Vec::new();
    for (later, image) in images.iter().enumerate().filter(|(_, i)| !i.instance.is_empty()) {
        match first.entry(&image.instance) {
            Entry::Vacant(empty) => drop(empty.insert(later)),
            Entry::Occupied(_) if stop() => return None,
            Entry::Occupied(earlier) => {
                let earlier = *earlier.get();
                // What cannot be compared is not known to be the same.
                if !same(&places[earlier], &places[later]).unwrap_or(false) {
                    conflicts.push([earlier, later]);
                }
            }
        }
    }
    Some(conflicts)
}

/// Whether two files have the same data set, byte for byte.
fn same(one: &Place, other: &Place) -> Result<bool, ReadError> {
    let [mut a, mut b] = [one.source()?, other.source()?];
    for source in [&mut a, &mut b] {
        let (_, data) = meta(source)?;
        source.seek_to(data)?;
    }
    let (mut x, mut y) = ([0; 8 << 10], [0; 8 << 10]);
    loop {
        let (read, other) = (fill(&mut a, &mut x)?, fill(&mut b, &mut y)?);
        if x[..read] != y[..other] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// Tells the stacks of their conflicts: a slice in conflict is no duplicate.
pub(super) fn told(stacks: &mut [Stack], conflicts: &[[usize; 2]]) {
    let mut of_image: HashMap<usize, Vec<usize>> = HashMap::new();
    for (number, pair) in conflicts.iter().enumerate() {
        pair.iter().for_each(|image| of_image.entry(*image).or_default().push(number));
    }
    if of_image.is_empty() {
        return;
    }
    for stack in stacks {
        let all = stack.members.iter().chain(&stack.duplicates);
        let numbers = all.filter_map(|member| of_image.get(&member.image)).flatten();
        let numbers: BTreeSet<usize> = numbers.copied().collect();
        stack.conflicts = numbers.into_iter().map(|number| conflicts[number]).collect();
        let later: BTreeSet<usize> = stack.conflicts.iter().map(|pair| pair[1]).collect();
        stack.duplicates.retain(|member| !later.contains(&member.image));
    }
}
