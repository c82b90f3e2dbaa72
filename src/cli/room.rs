//! Words for the memory that a plan takes of a board without an operating system.

use anyhow::{Result, bail};
use monet::Size;
use monet::core::Schedule;
use monet::package::Package;
use monet::targets::{Firmware, Planned, Room, Target, largest};

/// What is needed of flash memory and RAM, and what a board has: a name and a text each.
pub(super) fn lines(room: &Room, board: Option<&Firmware>) -> [(&'static str, String); 2] {
    let Room { plan, code, arena, stack, slices } = room;
    let flash = format!("plan {plan}, code {code}");
    let ram = format!("arena {arena}, stack {stack}, slices and labels {slices}");
    let kb = board.map(|board| [board.flash_kb, board.ram_kb]);
    let text = |needed: u64, i: usize, parts: &str| {
        let most = kb.map_or(String::new(), |kb| format!(" of {} kB", kb[i]));
        format!("{needed} bytes{most}: {parts}")
    };
    [("flash", text(room.flash(), 0, &flash)), ("RAM", text(room.ram(), 1, &ram))]
}

/// As [`lines`], a line each; nothing of a board with an operating system.
pub(super) fn text(planned: &Planned, target: &Target) -> String {
    let lines = planned.room.as_ref().map(|room| lines(room, target.firmware.as_ref()));
    lines.iter().flatten().map(|(name, text)| format!("{name:<8} {text}\n")).collect()
}

/// Refuses a plan, asked for in the order `first`, for which the board has no room, and says which
/// size it has room for.
///
/// # Errors
/// Where there is no room.
pub(super) fn check(
    package: &Package,
    size: Size,
    target: &Target,
    planned: &Planned,
    first: Schedule,
) -> Result<()> {
    let (Some(room), Some(board), false) = (&planned.room, &target.firmware, planned.fits) else {
        return Ok(());
    };
    let needs = lines(room, Some(board)).map(|(name, text)| format!("{name} {text}")).join("; ");
    match largest(package, size, target, first)? {
        Some(fits) => bail!(
            "{}: has no room for {size}: {needs}. The largest size of these proportions for which \
             it has room is {fits}: --size {fits}",
            target.name
        ),
        None => bail!(
            "{}: has no room for {size}: {needs}. It has none for {}, the package's least size, \
             either: choose another package or another board",
            target.name,
            package.size()
        ),
    }
}
