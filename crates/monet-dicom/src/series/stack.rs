//! Slices that make one volume.

use super::image::{DISCRIMINATORS, Image, Slice};
use super::reach::reaches;
use crate::vector::{cross, directions, dot, length, minus, times};

/// Orientations that differ by less belong to one stack.
const SAME_DIRECTION: f64 = 1e-3;
/// Pixel spacings that differ by less, as a part, belong to one stack.
const SAME_SPACING: f64 = 1e-4;
/// Positions that are nearer to each other are the same, in millimetres.
const SAME_PLACE: f64 = 0.01;
/// Steps between slices that differ by less, as a part of the step, are alike: positions are
/// rounded when they are written.
const SAME_STEP: f64 = 0.01;
/// A stack whose slices shift by more, in degrees, is tilted.
const TILT_DEGREES: f64 = 0.1;
/// Slices whose shift is farther from the common line, in millimetres, lie on no line.
const OFF_LINE: f64 = 0.1;

/// A slice of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// Index of the image, as given to [`stacks`].
    pub image: usize,
    /// Index of the slice in the image.
    pub slice: usize,
}

/// Slices of one series with one orientation, size and spacing, in the order of their positions.
#[derive(Debug, Clone, Default)]
pub struct Stack {
    /// The slices, along the normal: the row's direction × the column's.
    pub members: Vec<Member>,
    /// What tells the stack from others of its series, such as `("echo time", 4.6)`.
    pub told_apart_by: Vec<(&'static str, f64)>,
    /// Slices that were left out, as the same instance is there already.
    pub duplicates: Vec<Member>,
    /// Images of the stack that share an instance UID with another image, which has another data
    /// set: index of the earlier image, and of the later. A stack that has any is no volume.
    /// [`Scan`](super::Scan) compares the files, [`stacks`] does not.
    pub conflicts: Vec<[usize; 2]>,
    /// Slices that lie where another slice lies, and nothing tells them apart. A stack that has
    /// any is no volume.
    pub repeated: Vec<Member>,
}

/// How the slices of a stack follow one another.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// From one slice to the next, in millimetres of the patient's space (LPS).
    pub step: [f64; 3],
    /// Its length along the normal.
    pub distance: f64,
    /// The least and the greatest distance of two neighbours.
    pub distances: [f64; 2],
    /// Whether all distances are alike.
    pub is_regular: bool,
    /// Where distances are whole multiples of the least one: how far along the normal from the
    /// first slice each missing slice would lie, in millimetres.
    pub missing: Vec<f64>,
    /// How far each slice reaches along the normal, where distances differ: see [`reaches`].
    pub reaches: Vec<[f64; 2]>,
    /// Degrees by which the step leaves the normal, if they are more than rounding and the
    /// positions lie on one line.
    pub tilt: Option<f64>,
    /// Whether the positions lie on one line.
    pub is_straight: bool,
}

impl Shape {
    /// Whether the slices lie on a grid, sheared or not.
    #[must_use]
    pub fn is_grid(&self) -> bool {
        self.is_regular && self.is_straight
    }
}

impl Slice {
    /// Directions of a row and of a column.
    #[must_use]
    pub fn directions(&self) -> [[f64; 3]; 2] {
        directions(self.orientation)
    }

    /// The direction that is perpendicular to both.
    #[must_use]
    pub fn normal(&self) -> [f64; 3] {
        let [row, column] = self.directions();
        let normal = cross(row, column);
        times(normal, 1.0 / length(normal))
    }

    /// How far along a direction the slice lies, in millimetres.
    fn along(&self, normal: [f64; 3]) -> f64 {
        dot(self.position, normal)
    }
}

fn slice(images: &[Image], member: Member) -> &Slice {
    &images[member.image].slices[member.slice]
}

/// The stacks of all images, those of a series one after another in the order of the series' first
/// images.
#[must_use]
pub fn stacks(images: &[Image]) -> Vec<Stack> {
    let mut groups: Vec<Vec<Member>> = Vec::new();
    // A new slice most often belongs to the group of the slice before.
    for (index, image) in images.iter().enumerate() {
        for number in 0..image.slices.len() {
            let member = Member { image: index, slice: number };
            match groups.iter_mut().rev().find(|group| belongs(images, group[0], member)) {
                Some(group) => group.push(member),
                None => groups.push(vec![member]),
            }
        }
    }
    let mut stacks: Vec<Stack> =
        groups.into_iter().flat_map(|group| split(images, group)).collect();
    let first = |stack: &Stack| {
        let key = |member: &Member| &images[member.image].key;
        let own = stack.members.first().map(key);
        images.iter().position(|image| Some(&image.key) == own)
    };
    stacks.sort_by_key(first);
    stacks
}

/// Whether two slices can be of one stack, wherever they lie.
fn belongs(images: &[Image], one: Member, other: Member) -> bool {
    let (a, b) = (&images[one.image], &images[other.image]);
    let (s, t) = (slice(images, one), slice(images, other));
    let close =
        |x: &[f64], y: &[f64], most: f64| x.iter().zip(y).all(|(x, y)| (x - y).abs() < most);
    a.key == b.key
        && a.modality == b.modality
        && a.size == b.size
        && a.samples == b.samples
        && a.frame_of_reference == b.frame_of_reference
        && a.is_localizer() == b.is_localizer()
        && s.stack == t.stack
        && close(&s.orientation, &t.orientation, SAME_DIRECTION)
        && close(&s.spacing, &t.spacing, SAME_SPACING * s.spacing[0].max(s.spacing[1]))
}

/// Sorts a group; splits it where slices lie at one position and something tells them apart.
fn split(images: &[Image], group: Vec<Member>) -> Vec<Stack> {
    let (group, duplicates) = without_duplicates(images, group);
    let (group, repeated) = (sorted(images, group), Vec::new());
    let whole =
        |members| Stack { members, duplicates: duplicates.clone(), repeated, ..Stack::default() };
    if repeats(images, &group).is_empty() {
        return vec![whole(group)];
    }
    // One attribute that tells all apart, or else all of them together.
    let each = (0..DISCRIMINATORS.len()).map(|which| vec![which]);
    for by in each.chain([(0..DISCRIMINATORS.len()).collect()]) {
        let parts = parted(images, &group, &by);
        if parts.len() > 1 && parts.iter().all(|(_, part)| repeats(images, part).is_empty()) {
            return named(parts, &by, &duplicates);
        }
    }
    let repeated = repeats(images, &group);
    vec![Stack { members: group, duplicates, repeated, ..Stack::default() }]
}

/// A part of a group: the values of what tells it apart, and its slices.
type Part = (Vec<Option<f64>>, Vec<Member>);

fn parted(images: &[Image], group: &[Member], by: &[usize]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for member in group {
        let own = slice(images, *member).discriminators;
        let values: Vec<Option<f64>> = by.iter().map(|which| own[*which]).collect();
        match parts.iter_mut().find(|(others, _)| *others == values) {
            Some((_, members)) => members.push(*member),
            None => parts.push((values, vec![*member])),
        }
    }
    parts
}

fn named(parts: Vec<Part>, by: &[usize], duplicates: &[Member]) -> Vec<Stack> {
    let varies = |at: usize| parts.iter().any(|(values, _)| values[at] != parts[0].0[at]);
    let varying: Vec<usize> = (0..by.len()).filter(|at| varies(*at)).collect();
    let stack = |(number, (values, members)): (usize, &Part)| Stack {
        told_apart_by: varying
            .iter()
            .filter_map(|at| Some((DISCRIMINATORS[by[*at]], values[*at]?)))
            .collect(),
        members: members.clone(),
        duplicates: if number == 0 { duplicates.to_vec() } else { Vec::new() },
        ..Stack::default()
    };
    parts.iter().enumerate().map(stack).collect()
}

/// Takes out slices whose instance and frame are there already.
fn without_duplicates(images: &[Image], group: Vec<Member>) -> (Vec<Member>, Vec<Member>) {
    let mut seen = std::collections::HashSet::new();
    group.into_iter().partition(|member| {
        let instance = images[member.image].instance.as_str();
        instance.is_empty() || seen.insert((instance, member.slice))
    })
}

/// Along the normal of the first slice; slices at one place by their instance number.
fn sorted(images: &[Image], mut group: Vec<Member>) -> Vec<Member> {
    let normal = slice(images, group[0]).normal();
    group.sort_by(|a, b| {
        let (s, t) = (slice(images, *a), slice(images, *b));
        s.along(normal).total_cmp(&t.along(normal)).then(s.number.cmp(&t.number)).then(a.cmp(b))
    });
    group
}

/// The slices of a sorted group that lie where the slice before lies.
fn repeats(images: &[Image], group: &[Member]) -> Vec<Member> {
    let Some(first) = group.first() else { return Vec::new() };
    let normal = slice(images, *first).normal();
    let along = |member: &Member| slice(images, *member).along(normal);
    let pairs = group.windows(2);
    let same = pairs.filter(|pair| along(&pair[1]) - along(&pair[0]) < SAME_PLACE);
    same.map(|pair| pair[1]).collect()
}

impl Stack {
    /// How the slices follow one another. A single slice is as thick as it says, or 1 mm.
    ///
    /// # Panics
    /// With no members, or with images that are not those of [`stacks`].
    #[must_use]
    pub fn shape(&self, images: &[Image]) -> Shape {
        let slices: Vec<&Slice> = self.members.iter().map(|m| slice(images, *m)).collect();
        let (first, last) = (slices[0], slices[slices.len() - 1]);
        let normal = first.normal();
        if slices.len() == 1 {
            let distance = first.step.map(f64::abs).filter(|mm| *mm > 0.0).or(first.thickness);
            let distance = distance.unwrap_or(1.0);
            return Shape {
                step: times(normal, distance),
                distance,
                distances: [distance; 2],
                is_regular: true,
                missing: Vec::new(),
                reaches: Vec::new(),
                tilt: None,
                is_straight: true,
            };
        }
        let along: Vec<f64> = slices.iter().map(|slice| slice.along(normal)).collect();
        let between: Vec<f64> = along.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let least = between.iter().copied().fold(f64::INFINITY, f64::min);
        let most = between.iter().copied().fold(0.0, f64::max);
        let alike = |a: f64, b: f64| (a - b).abs() <= (SAME_STEP * b).max(SAME_PLACE);
        let mean = (along[along.len() - 1] - along[0]) / between.len() as f64;
        let is_regular = alike(least, mean) && alike(most, mean);
        let missing = if is_regular { Vec::new() } else { missing(&along, median(&between)) };
        let usual = (!missing.is_empty()).then(|| median(&between));
        let reaches = if is_regular { Vec::new() } else { reaches(&along, usual) };
        // The direction of the whole stack, scaled to the usual distance.
        let distance = if is_regular { mean } else { median(&between) };
        let whole = minus(last.position, first.position);
        let step = times(whole, distance / dot(whole, normal));
        let off = |slice: &&Slice| {
            let from = minus(slice.position, first.position);
            length(minus(from, times(step, dot(from, normal) / distance)))
        };
        let degrees = (distance / length(step)).min(1.0).acos().to_degrees();
        let is_straight = slices.iter().all(|slice| off(slice) <= OFF_LINE);
        Shape {
            step,
            distance,
            distances: [least, most],
            is_regular,
            missing,
            reaches,
            tilt: (is_straight && degrees > TILT_DEGREES).then_some(degrees),
            is_straight,
        }
    }
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Where slices are missing, if all distances are whole multiples of the usual one; nothing
/// otherwise.
fn missing(along: &[f64], usual: f64) -> Vec<f64> {
    /// Past this the stack is not one with gaps.
    const MOST: f64 = 1000.0;
    let mut all = Vec::new();
    for pair in along.windows(2) {
        let steps = (pair[1] - pair[0]) / usual;
        let whole = steps.round();
        if !(1.0..=MOST).contains(&whole)
            || (steps - whole).abs() > SAME_STEP.max(SAME_PLACE / usual) * whole
        {
            return Vec::new();
        }
        all.extend((1..whole as usize).map(|i| pair[0] - along[0] + i as f64 * usual));
    }
    all
}
