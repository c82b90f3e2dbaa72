//! Closed contours around the pixels of a label.
//!
//! ```text
//!   .  .  .  .        A pixel side between inside (#) and outside (.) is a crack. Each crack gives
//!   . /#\ .  .        one vertex: 0.49 pixels from the inside pixel's centre, so that
//!   . \##\ .  .       - readers that fill by pixel centres find exactly the pixels inside,
//!   .  .  .  .        - readers that round vertices to pixels find them, too.
//! ```
//!
//! Contours run with the inside on their right. Pixels that touch at a corner only belong to
//! different contours. A hole is joined to what surrounds it by a channel without width, the
//! "keyhole" (PS3.3, C.8.8.6.3), because a contour of its own would be filled by readers that
//! unite contours:
//!
//! ```text
//!   left of the hole's leftmost crack, in the same row, the inside reaches to another crack: of
//!   the outer contour, or of a hole that lies further to the left and is joined already
//! ```

/// A place in a plane: column and row, whole numbers at pixel centres.
pub(crate) type Point = [f64; 2];

/// From an inside pixel's centre to a vertex.
const REACH: f64 = 0.49;
/// From a row of centres to a channel, which must not touch centres.
const ASIDE: f64 = 0.005;
/// Sides of a pixel, clockwise: up, right, down, left. As steps in columns and rows, each is the
/// direction in which the side before it is walked.
const STEPS: [[isize; 2]; 4] = [[0, -1], [1, 0], [0, 1], [-1, 0]];
const UP: usize = 0;
const RIGHT: usize = 1;
const DOWN: usize = 2;
const LEFT: usize = 3;

/// A side of an inside pixel behind which is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crack {
    column: u32,
    row: u32,
    side: u8,
}

impl Crack {
    fn vertex(self) -> Point {
        let [x, y] = STEPS[usize::from(self.side)];
        [f64::from(self.column) + REACH * x as f64, f64::from(self.row) + REACH * y as f64]
    }
}

/// A closed walk along cracks.
#[derive(Debug)]
struct Loop {
    /// The number of its first crack among all loops' cracks.
    first: u32,
    cracks: Vec<Crack>,
    /// Holes to be joined, by the place of the crack whose vertex follows the channel.
    holes: Vec<Joint>,
}

#[derive(Debug, Clone, Copy)]
struct Joint {
    /// Where in the walk the channel begins.
    at: usize,
    /// Which loop it leads to, and where in that loop's walk.
    hole: usize,
    hole_at: usize,
}

/// Finds contours, with memory that is kept from plane to plane.
#[derive(Debug)]
pub(crate) struct Tracer {
    rows: usize,
    columns: usize,
    /// Of each pixel, the number of the crack at its left among all loops' cracks.
    left: Vec<u32>,
    /// Whether the crack above a pixel was walked.
    up: Vec<bool>,
}

impl Tracer {
    pub(crate) fn new(rows: u16, columns: u16) -> Self {
        let pixels = usize::from(rows) * usize::from(columns);
        let (rows, columns) = (rows.into(), columns.into());
        Self { rows, columns, left: vec![0; pixels], up: vec![false; pixels] }
    }

    /// The contours around a value of a plane, one for each connected piece.
    pub(crate) fn contours(&mut self, plane: &[u8], value: u8) -> Vec<Vec<Point>> {
        self.up.fill(false);
        let mut loops: Vec<Loop> = Vec::new();
        let mut cracks = 0;
        let mut outer = Vec::new();
        let mut holes = Vec::new();
        for at in 0..self.up.len() {
            let crack = Crack {
                column: (at % self.columns) as u32,
                row: (at / self.columns) as u32,
                side: 0,
            };
            let is_crack = plane[at] == value && !self.inside(plane, value, crack, STEPS[UP]);
            if is_crack && !self.up[at] {
                let index = loops.len();
                let walked = self.walk(plane, value, crack, cracks);
                cracks += walked.cracks.len() as u32;
                if area(&walked.cracks) > 0 { &mut outer } else { &mut holes }.push(index);
                loops.push(walked);
            }
        }
        self.join(plane, value, &mut loops, &holes);
        outer.into_iter().map(|index| polygon(&loops, index)).collect()
    }

    /// Whether the pixel at so many columns and rows from a crack's is inside.
    fn inside(&self, plane: &[u8], value: u8, from: Crack, step: [isize; 2]) -> bool {
        let column = (from.column as usize).checked_add_signed(step[0]);
        let row = (from.row as usize).checked_add_signed(step[1]);
        match (column, row) {
            (Some(column), Some(row)) if column < self.columns && row < self.rows => {
                plane[row * self.columns + column] == value
            }
            _ => false,
        }
    }

    /// Walks along cracks until the first comes again.
    fn walk(&mut self, plane: &[u8], value: u8, start: Crack, first: u32) -> Loop {
        let mut cracks = Vec::new();
        let mut crack = start;
        loop {
            let at = crack.row as usize * self.columns + crack.column as usize;
            match usize::from(crack.side) {
                UP => self.up[at] = true,
                LEFT => self.left[at] = first + cracks.len() as u32,
                _ => {}
            }
            cracks.push(crack);
            crack = self.next(plane, value, crack);
            if crack == start {
                return Loop { first, cracks, holes: Vec::new() };
            }
        }
    }

    /// The next crack: around the pixel's corner, straight on, or into the pixel across the corner.
    fn next(&self, plane: &[u8], value: u8, crack: Crack) -> Crack {
        let side = usize::from(crack.side);
        let (out, ahead) = (STEPS[side], STEPS[(side + 1) % 4]);
        let across = [out[0] + ahead[0], out[1] + ahead[1]];
        let moved = |[x, y]: [isize; 2], side: usize| Crack {
            column: crack.column.wrapping_add_signed(x as i32),
            row: crack.row.wrapping_add_signed(y as i32),
            side: side as u8,
        };
        if !self.inside(plane, value, crack, ahead) {
            moved([0, 0], (side + 1) % 4)
        } else if !self.inside(plane, value, crack, across) {
            moved(ahead, side)
        } else {
            moved(across, (side + 3) % 4)
        }
    }

    /// Finds for each hole the crack to its left that it is joined to.
    fn join(&self, plane: &[u8], value: u8, loops: &mut [Loop], holes: &[usize]) {
        for &hole in holes {
            let cracks = loops[hole].cracks.iter().enumerate();
            let right = cracks.filter(|(_, crack)| usize::from(crack.side) == RIGHT);
            let Some((hole_at, crack)) = right.min_by_key(|(_, crack)| crack.column) else {
                continue;
            };
            let mut end = Crack { side: LEFT as u8, ..*crack };
            while self.inside(plane, value, end, STEPS[LEFT]) {
                end.column -= 1;
            }
            let number = self.left[end.row as usize * self.columns + end.column as usize];
            let owner = loops.partition_point(|walked| walked.first <= number) - 1;
            let at = (number - loops[owner].first) as usize;
            loops[owner].holes.push(Joint { at, hole, hole_at });
        }
        for joined in loops {
            joined.holes.sort_by_key(|joint| joint.at);
        }
    }
}

/// The area that a walk encloses, in pixels; negative around a hole.
fn area(cracks: &[Crack]) -> i64 {
    // The walk goes right along upper sides and left along lower ones.
    let under = |crack: &Crack| match usize::from(crack.side) {
        UP => -i64::from(crack.row),
        DOWN => i64::from(crack.row) + 1,
        _ => 0,
    };
    cracks.iter().map(under).sum()
}

/// The vertices of a loop and of the holes that are joined to it.
fn polygon(loops: &[Loop], outer: usize) -> Vec<Point> {
    struct Walk {
        index: usize,
        /// Where in the walk it begins, how many cracks are behind it, which joint comes next.
        start: usize,
        done: usize,
        /// The ends of the channel that leads here.
        channel: Option<[Point; 2]>,
        /// Whether the hole before the next crack is walked already.
        entered: bool,
    }
    let mut points = Vec::new();
    let mut stack = vec![Walk { index: outer, start: 0, done: 0, channel: None, entered: false }];
    while let Some(walk) = stack.last_mut() {
        let Loop { cracks, holes, .. } = &loops[walk.index];
        if walk.done == cracks.len() {
            if let Some([near, far]) = walk.channel {
                points.extend([far, near]);
            }
            stack.pop();
            // The crack before which the channel begins comes now.
            if let Some(parent) = stack.last_mut() {
                parent.entered = true;
            }
            continue;
        }
        let at = (walk.start + walk.done) % cracks.len();
        let joint = holes.binary_search_by_key(&at, |joint| joint.at).ok().map(|i| holes[i]);
        if let Some(joint) = joint.filter(|_| !walk.entered) {
            let hole = &loops[joint.hole].cracks;
            let before = cracks[(at + cracks.len() - 1) % cracks.len()];
            let after = hole[(joint.hole_at + 1) % hole.len()];
            let near = aside(cracks[at].vertex(), before.vertex());
            let far = aside(hole[joint.hole_at].vertex(), after.vertex());
            points.extend([near, far]);
            let start = joint.hole_at + 1;
            let channel = Some([near, far]);
            stack.push(Walk { index: joint.hole, start, done: 0, channel, entered: false });
            continue;
        }
        points.push(cracks[at].vertex());
        walk.done += 1;
        walk.entered = false;
    }
    straightened(points)
}

/// The place a little off a crack's row, on the way to a neighbouring vertex below.
fn aside([x, y]: Point, [to_x, to_y]: Point) -> Point {
    [x + (to_x - x) * ASIDE / (to_y - y), y + ASIDE]
}

/// Without the vertices in the middle of a horizontal or vertical line.
fn straightened(points: Vec<Point>) -> Vec<Point> {
    let count = points.len();
    let needed = |i: &usize| {
        let (a, b, c) = (points[(i + count - 1) % count], points[*i], points[(i + 1) % count]);
        let along = |k: usize, l: usize| {
            a[k] == b[k] && b[k] == c[k] && (b[l] - a[l]) * (c[l] - b[l]) > 0.0
        };
        !along(0, 1) && !along(1, 0)
    };
    (0..count).filter(needed).map(|i| points[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether a place is inside a polygon, by the even-odd rule.
    fn contains(polygon: &[Point], [x, y]: Point) -> bool {
        let edges = polygon.iter().zip(polygon.iter().cycle().skip(1));
        let crossed = |([ax, ay], [bx, by]): &(&Point, &Point)| {
            (*ay > y) != (*by > y) && x < ax + (bx - ax) * (y - ay) / (by - ay)
        };
        edges.filter(crossed).count() % 2 == 1
    }

    fn area(polygon: &[Point]) -> f64 {
        let edges = polygon.iter().zip(polygon.iter().cycle().skip(1));
        edges.map(|([ax, ay], [bx, by])| ax * by - bx * ay).sum::<f64>() / 2.0
    }

    fn trace(columns: u16, plane: &[u8]) -> Vec<Vec<Point>> {
        Tracer::new((plane.len() / usize::from(columns)) as u16, columns).contours(plane, 1)
    }

    #[test]
    fn a_pixel_is_a_diamond() {
        let contours = trace(3, &[0, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(contours, [[[1.0, 0.51], [1.49, 1.0], [1.0, 1.49], [0.51, 1.0]]]);
    }

    #[test]
    fn a_ring_is_one_contour() {
        let ring = [1, 1, 1, 1, 0, 1, 1, 1, 1];
        let contours = trace(3, &ring);
        assert_eq!(contours.len(), 1);
        // Three by three, less the corners and the hole.
        assert!((area(&contours[0]) - 7.9).abs() < 0.3, "{}", area(&contours[0]));
    }

    #[test]
    fn straight_lines_have_two_ends() {
        assert_eq!(trace(9, &[1; 81])[0].len(), 8);
    }

    proptest! {
        #[test]
        fn contours_enclose_exactly_the_pixels(
            columns in 1_u16..12,
            rows in 1_usize..12,
            plane in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 1, 2]), 121),
        ) {
            let plane = &plane[..rows * usize::from(columns)];
            let contours = trace(columns, plane);
            for (at, pixel) in plane.iter().enumerate() {
                let width = usize::from(columns);
                let place = [at % width, at / width].map(|n| n as f64);
                let inside = contours.iter().filter(|c| contains(c, place)).count();
                let expected = usize::from(*pixel == 1);
                prop_assert_eq!(inside, expected, "at {:?} of {:?}", place, contours);
            }
        }

        #[test]
        fn rounded_vertices_are_pixels_inside(
            plane in prop::collection::vec(0_u8..2, 64),
        ) {
            for [x, y] in trace(8, &plane).into_iter().flatten() {
                let at = y.round_ties_even() as usize * 8 + x.round_ties_even() as usize;
                prop_assert_eq!(plane[at], 1, "{} {}", x, y);
            }
        }
    }
}
