//! Whether a net fits into the memory of a board.
//!
//! ```text
//! flash = code + plan (weights, tables, manifest)
//! RAM   = arena + stack + the slices that go in, 16 bits a voxel, and the labels that come out
//! ```
//!
//! The plan is made for the board's kernel, step by step. Where its arena is too large for a board
//! without an operating system, steps take turns of a few rows, [`Schedule::Lines`]; where that is
//! too large still, a tensor is computed twice, [`Schedule::Twice`].

use monet_core::{Image, Kernel, Schedule, Size};
use serde::{Deserialize, Serialize};

use super::{Firmware, Target};
use crate::engine::{EngineError, compile};
use crate::package::{Net, Package, SIZE_STEP};

/// Bytes of memory that a plan takes of a board without an operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Flash memory: the image.
    pub plan: u64,
    /// Flash memory: the program, as the board's profile says.
    pub code: u64,
    /// RAM: what a run works on.
    pub arena: u64,
    /// RAM: the stack, as the board's profile says.
    pub stack: u64,
    /// RAM: raw slices of the net's size, 16 bits a voxel, and the labels of one.
    pub slices: u64,
}

impl Room {
    fn new(image: &Image, board: &Firmware) -> Self {
        let voxels = 2 * image.input_len() + image.output_size().area();
        Self {
            plan: image.bytes().len() as u64,
            code: board.code_kb << 10,
            arena: image.arena_len() as u64,
            stack: board.stack_kb << 10,
            slices: voxels as u64,
        }
    }

    /// Bytes of flash memory.
    #[must_use]
    pub fn flash(&self) -> u64 {
        self.plan + self.code
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn ram(&self) -> u64 {
        self.arena + self.stack + self.slices
    }

    /// Whether a board has so much.
    #[must_use]
    pub fn fits(&self, board: &Firmware) -> bool {
        self.flash() <= board.flash_kb << 10 && self.ram() <= board.ram_kb << 10
    }
}

/// A package's plan for a board.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan.
    pub image: Image<'static>,
    /// The order of its rows; that of an image which was planned before is not known.
    pub order: Option<Schedule>,
    /// The memory that it takes; none of a board with an operating system.
    pub room: Option<Room>,
    /// Whether the board has that memory.
    pub fits: bool,
}

impl Planned {
    fn new(image: Image<'static>, order: Option<Schedule>, target: &Target) -> Self {
        let room = target.firmware.as_ref().map(|board| (Room::new(&image, board), board));
        let fits = room.is_none_or(|(room, board)| room.fits(board));
        Self { image, order, room: room.map(|(room, _)| room), fits }
    }
}

/// The orders in which a net may be computed: each takes less RAM and more time than those before
/// it, the last one more flash memory.
const ORDERS: [Schedule; 3] = [Schedule::Planes, Schedule::Lines, Schedule::Twice];

/// Plans a package for a board's kernel: in the order `first`, or in the first of those that take
/// less memory for which the board has room. A package that is an image stays as it is.
///
/// # Errors
/// Those of [`compile`], and [`EngineError::OtherKernel`] and [`EngineError::Planned`] of an image.
pub fn plan(
    package: &Package,
    size: Size,
    target: &Target,
    first: Schedule,
) -> Result<Planned, EngineError> {
    let kernel: Kernel = target.kernel.parse()?;
    if let Net::Image(image) = &package.net {
        if image.kernel() != kernel {
            let (origin, found) = (package.origin.clone(), image.kernel());
            return Err(EngineError::OtherKernel { origin, found, expected: kernel });
        }
        if image.size() != size {
            let (origin, found) = (package.origin.clone(), image.size());
            return Err(EngineError::Planned { origin, found, expected: size, kernel });
        }
        return Ok(Planned::new(image.clone(), None, target));
    }
    let by = |order| -> Result<Planned, EngineError> {
        let image = compile(package, size, kernel, order)?;
        Ok(Planned::new(image, Some(order), target))
    };
    let mut planned = by(first)?;
    for order in ORDERS.into_iter().skip_while(|&order| order != first).skip(1) {
        if planned.fits {
            break;
        }
        planned = by(order)?;
    }
    Ok(planned)
}

/// The largest size with the proportions of this one, and no larger, for which a board has room
/// when [`plan`] begins with the order `first`; none where the package's own size is too large
/// already.
///
/// # Errors
/// Those of [`plan`].
pub fn largest(
    package: &Package,
    size: Size,
    target: &Target,
    first: Schedule,
) -> Result<Option<Size>, EngineError> {
    let steps = size.height.max(size.width) / SIZE_STEP;
    let scaled = |n: usize| {
        let side = |side: usize| ((side / SIZE_STEP * n + steps / 2) / steps.max(1)) * SIZE_STEP;
        Size::new(side(size.height), side(size.width))
    };
    let least = package.size();
    let serves = |size: Size| size.height >= least.height && size.width >= least.width;
    let (mut fits, mut fails) = (None, steps + 1);
    let mut low = (1..=steps).find(|&n| serves(scaled(n))).unwrap_or(fails);
    while low < fails {
        let n = low.midpoint(fails);
        if plan(package, scaled(n), target, first)?.fits {
            (fits, low) = (Some(scaled(n)), n + 1);
        } else {
            fails = n;
        }
    }
    Ok(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(flash_kb: u64, ram_kb: u64) -> Target {
        let mut target = Target::find("cortex-m7").expect("embedded");
        let firmware = target.firmware.as_mut().expect("a board without an operating system");
        (firmware.flash_kb, firmware.ram_kb) = (flash_kb, ram_kb);
        target
    }

    #[test]
    fn rows_take_turns_only_where_whole_planes_do_not_fit() {
        let package = Package::embedded();
        let size = Size::new(96, 96);
        let at =
            |ram_kb| plan(&package, size, &board(2048, ram_kb), Schedule::Planes).expect("a plan");
        let whole = at(4096);
        assert_eq!((whole.order, whole.fits), (Some(Schedule::Planes), true));
        let planes = whole.room.expect("a board without an operating system");
        let turns = at((planes.ram() >> 10) - 1);
        assert_eq!((turns.order, turns.fits), (Some(Schedule::Lines), true));
        let lines = turns.room.expect("as above");
        assert!(lines.ram() < planes.ram());
        let twice = plan(&package, size, &board(2048, 4096), Schedule::Twice).expect("a plan");
        let least = twice.room.expect("as above").ram();
        assert!(least < lines.ram());
        let twice = at((least >> 10) + 1);
        assert_eq!((twice.order, twice.fits), (Some(Schedule::Twice), true));
        assert!(!at(64).fits);
    }

    #[test]
    fn the_largest_size_fits_and_the_next_does_not() {
        let package = Package::embedded();
        let wanted = Size::new(128, 256);
        let board = board(2048, 320);
        assert!(!plan(&package, wanted, &board, Schedule::Planes).expect("a plan").fits);
        let found =
            largest(&package, wanted, &board, Schedule::Planes).expect("plans").expect("one fits");
        assert!(plan(&package, found, &board, Schedule::Planes).expect("a plan").fits, "{found}");
        assert_eq!(found.width.div_ceil(2).next_multiple_of(SIZE_STEP), found.height, "{found}");
        let next = Size::new(found.height + 4, found.width + 8);
        assert!(!plan(&package, next, &board, Schedule::Planes).expect("a plan").fits, "{next}");
    }

    #[test]
    fn a_board_too_small_for_the_package_has_no_largest_size() {
        let package = Package::embedded();
        assert_eq!(
            largest(&package, Size::new(64, 64), &board(2048, 64), Schedule::Planes)
                .expect("plans"),
            None
        );
        assert_eq!(
            largest(&package, Size::new(64, 64), &board(256, 512), Schedule::Planes)
                .expect("plans"),
            None
        );
    }

    #[test]
    fn an_image_is_planned_already_for_its_own_kernel() {
        let package = Package::embedded();
        let image = compile(&package, package.size(), Kernel::CortexMMve, Schedule::Planes);
        let package = Package { net: Net::Image(image.expect("a plan")), ..package };
        let board = |name| Target::find(name).expect("embedded");
        let own = plan(&package, package.size(), &board("cortex-m55"), Schedule::Planes)
            .expect("its own");
        assert_eq!((own.order, own.fits), (None, true));
        plan(&package, package.size(), &board("cortex-m7"), Schedule::Planes)
            .expect_err("another kernel");
    }
}
