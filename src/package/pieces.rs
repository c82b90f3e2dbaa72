//! Only the largest connected piece of a label, in memory that does not depend on the number of
//! slices.
//!
//! Which piece is the largest is known after the last slice only, so slices wait in a store, such
//! as a temporary file, and are gone through three times:
//!
//! 1. As they come ([`Pieces::push`]), each slice's runs (neighbours in a row with the same label)
//!    are sorted into groups: those that are connected within this slice and those before it. A
//!    group without a run in the next slice is a whole piece; the largest of each label so far is
//!    remembered by its last slice and its number there. The number of each run's group goes to a
//!    second store.
//! 2. From the last slice back to the first ([`Pieces::settle`]), a group is kept if it is the one
//!    remembered, or if it touches a run that is kept in the slice after it. All other groups
//!    become background. The runs of one group are kept or cleared together. What connects them may
//!    lie in slices before, which this pass reaches next; the stored group number already records
//!    it.
//! 3. In their first order ([`Kept::next_into`]) slices are given out.
//!
//! Voxels are connected where they share a face, as in `scipy.ndimage.label`. Of two pieces of
//! equal size, the one that ended first in the order of the slices is kept.

use crate::Size;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

/// Bytes of a run's group in its store.
const NUMBER: usize = 4;

/// Bytes of a slice's index in its record.
const INDEX: usize = 8;

/// Slices on their way in; see the module. `S` is a store, empty at first, that takes a byte a
/// voxel and the thumbnails, and another that takes four bytes a run.
#[derive(Debug)]
pub struct Pieces<S> {
    records: S,
    numbers: S,
    width: usize,
    /// Bytes of a slice's labels and of its thumbnail.
    lengths: [usize; 2],
    /// Slices so far.
    count: usize,
    /// The largest whole piece so far of each value that is limited to it.
    largest: Vec<(u8, Option<Piece>)>,
    /// Of the last slice.
    last: Slice,
    /// Of the one that comes, kept for its memory.
    next: Slice,
    sets: Sets,
    /// What goes to the stores, put together.
    bytes: Vec<u8>,
}

/// A slice's runs and the groups that they belong to.
#[derive(Debug, Default)]
struct Slice {
    runs: Vec<Run>,
    groups: Vec<Group>,
}

/// Neighbours in a row with the same value.
#[derive(Debug, Clone, Copy)]
struct Run {
    row: usize,
    first: usize,
    end: usize,
    value: u8,
    group: usize,
}

/// What is connected up to a slice.
#[derive(Debug, Clone, Copy)]
struct Group {
    value: u8,
    voxels: u64,
}

/// A whole piece: its size, the slice in which it ends, counted in the order of coming, and its
/// group there.
#[derive(Debug, Clone, Copy)]
struct Piece {
    voxels: u64,
    slice: usize,
    group: usize,
}

impl<S: Read + Write + Seek> Pieces<S> {
    /// For slices of a size, with a thumbnail of so many bytes each; the labels in
    /// `values` are limited to their largest piece.
    pub fn new(
        Size { height, width }: Size,
        thumbnail: usize,
        values: &[u8],
        records: S,
        numbers: S,
    ) -> Self {
        Self {
            records,
            numbers,
            width,
            lengths: [width * height, thumbnail],
            count: 0,
            largest: values.iter().map(|&value| (value, None)).collect(),
            last: Slice::default(),
            next: Slice::default(),
            sets: Sets::default(),
            bytes: Vec::new(),
        }
    }

    /// Takes in the next slice: its index, its labels, row after row, and its thumbnail. All three
    /// come back from [`Kept::next_into`].
    ///
    /// # Errors
    /// Those of the stores.
    ///
    /// # Panics
    /// When a length is not the one announced.
    pub fn push(&mut self, index: usize, labels: &[u8], thumbnail: &[u8]) -> io::Result<()> {
        assert_eq!([labels.len(), thumbnail.len()], self.lengths, "length of a slice");
        self.records.write_all(&(index as u64).to_le_bytes())?;
        self.records.write_all(labels)?;
        self.records.write_all(thumbnail)?;

        let Self { last, next, sets, .. } = self;
        next.find_runs(labels, self.width, &self.largest);
        let before = last.groups.len();
        sets.reset(before + next.runs.len());
        touching(&last.runs, &next.runs, 0, |i, j| sets.join(last.runs[i].group, before + j));
        touching(&next.runs, &next.runs, 1, |i, j| sets.join(before + i, before + j));

        next.groups.clear();
        self.bytes.clear();
        for (i, run) in next.runs.iter_mut().enumerate() {
            run.group = sets.number(before + i, &mut next.groups, run.value);
            next.groups[run.group].voxels += (run.end - run.first) as u64;
            self.bytes.extend((run.group as u32).to_le_bytes());
        }
        for (i, group) in last.groups.iter().enumerate() {
            match sets.numbered(i) {
                Some(on) => next.groups[on].voxels += group.voxels,
                None => end(&mut self.largest, *group, self.count - 1, i),
            }
        }
        self.numbers.write_all(&self.bytes)?;
        std::mem::swap(&mut self.last, &mut self.next);
        self.count += 1;
        Ok(())
    }

    /// Goes back through the slices and clears what is not kept.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn settle(mut self) -> io::Result<Kept<S>> {
        for (i, group) in self.last.groups.iter().enumerate() {
            end(&mut self.largest, *group, self.count - 1, i);
        }
        let mut labels = vec![0; self.lengths[0]];
        let record = (INDEX + self.lengths[0] + self.lengths[1]) as u64;
        // From here on `last` is the slice after the one looked at, with only the runs that are
        // kept.
        self.last.runs.clear();
        let mut kept: Vec<bool> = Vec::new();
        for slice in (0..self.count).rev() {
            let at = slice as u64 * record + INDEX as u64;
            self.records.seek(SeekFrom::Start(at))?;
            self.records.read_exact(&mut labels)?;
            self.next.find_runs(&labels, self.width, &self.largest);
            let groups = self.read_groups()?;
            kept.clear();
            kept.resize(groups, false);
            for (_, piece) in &self.largest {
                if let Some(Piece { group, .. }) = piece.filter(|piece| piece.slice == slice) {
                    kept[group] = true;
                }
            }
            touching(&self.next.runs, &self.last.runs, 0, |i, _| {
                kept[self.next.runs[i].group] = true
            });
            let mut changed = false;
            for run in self.next.runs.iter().filter(|run| !kept[run.group]) {
                labels[run.row * self.width..][run.first..run.end].fill(0);
                changed = true;
            }
            if changed {
                self.records.seek(SeekFrom::Start(at))?;
                self.records.write_all(&labels)?;
            }
            self.next.runs.retain(|run| kept[run.group]);
            std::mem::swap(&mut self.last, &mut self.next);
        }
        self.records.rewind()?;
        Ok(Kept { records: self.records, left: self.count })
    }

    /// Reads the groups of the runs of the slice before those that were read last; returns how many
    /// groups there are.
    fn read_groups(&mut self) -> io::Result<usize> {
        let runs = &mut self.next.runs;
        self.bytes.resize(runs.len() * NUMBER, 0);
        let back = -(self.bytes.len() as i64);
        self.numbers.seek(SeekFrom::Current(back))?;
        self.numbers.read_exact(&mut self.bytes)?;
        self.numbers.seek(SeekFrom::Current(back))?;
        let mut groups = 0;
        for (run, bytes) in runs.iter_mut().zip(self.bytes.as_chunks::<NUMBER>().0) {
            run.group = u32::from_le_bytes(*bytes) as usize;
            groups = groups.max(run.group + 1);
        }
        Ok(groups)
    }
}

/// Slices on their way out; from [`Pieces::settle`].
#[derive(Debug)]
pub struct Kept<S> {
    records: S,
    left: usize,
}

impl<S: Read> Kept<S> {
    /// Gives the next slice's labels and its thumbnail; returns its index, or `None` after
    /// the last.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_into(
        &mut self,
        labels: &mut [u8],
        thumbnail: &mut [u8],
    ) -> io::Result<Option<usize>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut index = [0; INDEX];
        self.records.read_exact(&mut index)?;
        self.records.read_exact(labels)?;
        self.records.read_exact(thumbnail)?;
        Ok(Some(u64::from_le_bytes(index) as usize))
    }
}

/// Clears all but the largest piece of each of `values` in a volume in memory, slices of this size
/// after one another.
///
/// # Errors
/// Never: both stores are in memory.
pub fn keep_largest(volume: &mut [u8], size: Size, values: &[u8]) -> io::Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let [records, numbers] = [0, 1].map(|_| Cursor::new(Vec::new()));
    let mut pieces = Pieces::new(size, 0, values, records, numbers);
    let plane = size.area().max(1);
    for (index, labels) in volume.chunks_exact(plane).enumerate() {
        pieces.push(index, labels, &[])?;
    }
    let mut kept = pieces.settle()?;
    for labels in volume.chunks_exact_mut(plane) {
        kept.next_into(labels, &mut [])?;
    }
    Ok(())
}

/// A group that does not go on is a piece, and perhaps the largest.
fn end(largest: &mut [(u8, Option<Piece>)], group: Group, slice: usize, number: usize) {
    for (_, piece) in largest.iter_mut().filter(|(value, _)| *value == group.value) {
        if piece.is_none_or(|piece| group.voxels > piece.voxels) {
            *piece = Some(Piece { voxels: group.voxels, slice, group: number });
        }
    }
}

impl Slice {
    /// Finds the runs of the values that are limited to a piece, row after row.
    fn find_runs(&mut self, labels: &[u8], width: usize, limited: &[(u8, Option<Piece>)]) {
        self.runs.clear();
        for (row, line) in labels.chunks_exact(width.max(1)).enumerate() {
            let mut first = 0;
            for run in line.chunk_by(|a, b| a == b) {
                let (value, end) = (run[0], first + run.len());
                if limited.iter().any(|(limited, _)| *limited == value) {
                    self.runs.push(Run { row, first, end, value, group: 0 });
                }
                first = end;
            }
        }
    }
}

/// Calls `each` with the places of two runs of the same value that share a face, the second `down`
/// rows below the first; both lists are sorted by row and column.
fn touching(a: &[Run], b: &[Run], down: usize, mut each: impl FnMut(usize, usize)) {
    let (mut i, mut j) = (0, 0);
    while let (Some(p), Some(q)) = (a.get(i), b.get(j)) {
        let row = p.row + down;
        if row == q.row && p.first < q.end && q.first < p.end && p.value == q.value {
            each(i, j);
        }
        // The one that ends first touches nothing further on.
        if (row, p.end) <= (q.row, q.end) { i += 1 } else { j += 1 }
    }
}

/// Disjoint sets (union and find with halved paths).
#[derive(Debug, Default)]
struct Sets {
    parent: Vec<usize>,
    /// The group that a set's root was given.
    group: Vec<Option<usize>>,
}

impl Sets {
    /// This many sets of one.
    fn reset(&mut self, count: usize) {
        self.parent.clear();
        self.parent.extend(0..count);
        self.group.clear();
        self.group.resize(count, None);
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.parent[i] != i {
            self.parent[i] = self.parent[self.parent[i]];
            i = self.parent[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    /// The group of a set, a new one where it has none.
    fn number(&mut self, i: usize, groups: &mut Vec<Group>, value: u8) -> usize {
        let root = self.root(i);
        *self.group[root].get_or_insert_with(|| {
            groups.push(Group { value, voxels: 0 });
            groups.len() - 1
        })
    }

    /// The group of a set, if it has one.
    fn numbered(&mut self, i: usize) -> Option<usize> {
        let root = self.root(i);
        self.group[root]
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::*;

    /// The same by flooding the volume from every voxel.
    fn flooded(Size { height: h, width: w }: Size, volume: &[u8], values: &[u8]) -> Vec<u8> {
        let (plane, mut piece_of, mut pieces) = (w * h, vec![usize::MAX; volume.len()], Vec::new());
        for start in 0..volume.len() {
            if !values.contains(&volume[start]) || piece_of[start] != usize::MAX {
                continue;
            }
            let (mut open, mut voxels) = (vec![start], Vec::new());
            piece_of[start] = pieces.len();
            while let Some(at) = open.pop() {
                voxels.push(at);
                let (x, y, z) = (at % w, at / w % h, at / plane);
                let sides = [
                    (x > 0).then(|| at - 1),
                    (x + 1 < w).then(|| at + 1),
                    (y > 0).then(|| at - w),
                    (y + 1 < h).then(|| at + w),
                    (z > 0).then(|| at - plane),
                    (at + plane < volume.len()).then(|| at + plane),
                ];
                for side in sides.into_iter().flatten() {
                    if volume[side] == volume[at] && piece_of[side] == usize::MAX {
                        piece_of[side] = pieces.len();
                        open.push(side);
                    }
                }
            }
            pieces.push((volume[start], voxels));
        }
        let mut out: Vec<u8> =
            volume.iter().map(|v| if values.contains(v) { 0 } else { *v }).collect();
        for &value in values {
            let of = pieces.iter().filter(|(v, _)| *v == value);
            // The largest; of equal ones that which ends first, and there that which begins first.
            let last = |voxels: &[usize]| voxels.iter().map(|at| at / plane).max();
            let key = |(_, voxels): &&(u8, Vec<usize>)| {
                let end = last(voxels);
                let first = voxels.iter().filter(|at| Some(*at / plane) == end).min().copied();
                (voxels.len(), Reverse(end), Reverse(first))
            };
            let best = of.max_by_key(key);
            best.iter().flat_map(|(_, voxels)| voxels).for_each(|&at| out[at] = value);
        }
        out
    }

    fn kept(size: Size, volume: &[u8], values: &[u8]) -> Vec<u8> {
        let mut volume = volume.to_vec();
        keep_largest(&mut volume, size, values).unwrap();
        volume
    }

    /// Slices of one row, a line each.
    fn volume(lines: &[&str]) -> Vec<u8> {
        lines.concat().bytes().map(|b| b - b'0').collect()
    }

    #[test]
    fn arms_that_meet_only_later_or_earlier_are_one_piece() {
        // Beside a bar that is larger than each arm.
        let pictures = [
            (["10101", "10101", "11101"], ["10100", "10100", "11100"]),
            (["11101", "10101", "10101"], ["11100", "10100", "10100"]),
            (["11101", "10101", "00101"], ["11100", "10100", "00100"]),
            (["10111", "10001", "11101"], ["10000", "10000", "11100"]),
            (["00111", "10001", "11101"], ["00111", "00001", "00001"]),
        ];
        for (picture, expected) in pictures {
            assert_eq!(
                kept(Size::new(1, 5), &volume(&picture), &[1]),
                volume(&expected),
                "{picture:?}"
            );
            let [picture, expected] =
                [picture, expected].map(|[first, second, third]| [third, second, first]);
            assert_eq!(
                kept(Size::new(1, 5), &volume(&picture), &[1]),
                volume(&expected),
                "{picture:?}"
            );
        }
    }

    #[test]
    fn a_slice_comes_back_with_its_index_and_its_thumbnail() {
        let [records, numbers] = [0, 1].map(|_| Cursor::new(Vec::new()));
        let mut pieces = Pieces::new(Size::new(1, 2), 3, &[1], records, numbers);
        pieces.push(1, &[1, 0], b"one").unwrap();
        pieces.push(0, &[1, 2], b"two").unwrap();
        let mut out = pieces.settle().unwrap();
        let (mut labels, mut thumbnail) = ([9; 2], [9; 3]);
        for expected in [(1, [1, 0], *b"one"), (0, [1, 2], *b"two")] {
            let index = out.next_into(&mut labels, &mut thumbnail).unwrap();
            assert_eq!((index, labels, thumbnail), (Some(expected.0), expected.1, expected.2));
        }
        assert_eq!(out.next_into(&mut labels, &mut thumbnail).unwrap(), None);
    }

    proptest! {
        #[test]
        fn the_same_as_flooding(
            (w, h) in (1usize..7, 1usize..7),
            seed in prop::collection::vec(0u8..8, 1..300),
            both in any::<bool>(),
        ) {
            let plane = w * h;
            let label = |v: &u8| [0, 1, 1, 1, 1, 2, 2, 3][usize::from(*v)];
            let volume: Vec<u8> = seed.iter().map(label).collect();
            let volume = &volume[..volume.len() / plane * plane];
            let values: &[u8] = if both { &[2, 1] } else { &[1] };
            let found = kept(Size::new(h, w), volume, values);
            prop_assert_eq!(found, flooded(Size::new(h, w), volume, values));
        }
    }
}
