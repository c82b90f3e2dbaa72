//! Processes of this program that do for it what may go wrong: bound in memory and time, and to the
//! life of the process that started them.

use std::process::Command;

use anyhow::Result;

/// This program, as a process of a group of its own: signals to this process's group are for this
/// process alone, which ends what it started.
pub(super) fn command() -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

/// Ends this process with the one that started it, and bounds its address space.
///
/// # Errors
/// The system sets no limits.
#[cfg(target_os = "linux")]
pub(super) fn bind(memory_bytes: u64) -> Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal's number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    limit(libc::RLIMIT_AS, memory_bytes)?;
    limit(libc::RLIMIT_CORE, 0)
}

/// Bounds this process's seconds of a core.
///
/// # Errors
/// As [`bind`]
#[cfg(all(target_os = "linux", any(feature = "serve", feature = "tract")))]
pub(super) fn limit_seconds(seconds: u64) -> Result<()> {
    limit(libc::RLIMIT_CPU, seconds)
}

/// Ends this process so many seconds from now, unless it is called again; 0 calls it off.
#[cfg(all(target_os = "linux", feature = "dicom"))]
pub(super) fn end_in(seconds: u32) {
    // SAFETY: SIGALRM's default action ends the process; no code of ours runs.
    unsafe { libc::alarm(seconds) };
}

/// C libraries differ in the type of a resource's number.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(all(target_os = "linux", not(target_env = "gnu")))]
type Resource = libc::c_int;

#[cfg(target_os = "linux")]
fn limit(resource: Resource, most: u64) -> Result<()> {
    use anyhow::ensure;

    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is this call's own and lives until it returns.
    ensure!(unsafe { libc::getrlimit(resource, &raw mut limit) } == 0, "limits cannot be told");
    let most = libc::rlim_t::try_from(most).unwrap_or(libc::rlim_t::MAX).min(limit.rlim_max);
    limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: as above; the call only reads it.
    ensure!(unsafe { libc::setrlimit(resource, &raw const limit) } == 0, "limits cannot be set");
    Ok(())
}

/// Elsewhere nothing is bound.
#[cfg(not(target_os = "linux"))]
#[allow(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
pub(super) fn bind(_: u64) -> Result<()> {
    Ok(())
}

/// Elsewhere the other process's patience is the only bound.
#[cfg(all(not(target_os = "linux"), any(feature = "serve", feature = "tract")))]
#[allow(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
pub(super) fn limit_seconds(_: u64) -> Result<()> {
    Ok(())
}

/// Elsewhere there is no alarm.
#[cfg(all(not(target_os = "linux"), feature = "dicom"))]
pub(super) fn end_in(_: u32) {}
