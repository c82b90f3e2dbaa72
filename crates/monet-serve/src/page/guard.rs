//! The page's password, and how who guesses is slowed down: by address, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong passwords in a row that cost no wait.
const FREE: u32 = 3;
/// The first wait; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// How long a wrong password is remembered.
const MEMORY: Duration = Duration::from_secs(600);
/// Most addresses that are remembered; the one that was wrong longest ago makes way.
const MOST: usize = 1024;

/// Lets in who knows the password.
#[derive(Debug)]
pub(super) struct Guard {
    /// What `Authorization` has to be.
    expected: Vec<u8>,
    wrong: Mutex<HashMap<IpAddr, Wrong>>,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u32,
    last: Instant,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered.
    Welcome,
    /// It is told to bring the password.
    Ask,
    /// It is not looked at.
    Wait,
}

impl Guard {
    pub(super) fn new(expected: Vec<u8>) -> Self {
        Self { expected, wrong: Mutex::default() }
    }

    /// What becomes of a request with this `Authorization`. Who waits is told nothing of any
    /// password, not even of the right one.
    pub(super) fn judge(&self, from: IpAddr, given: Option<&[u8]>, now: Instant) -> Verdict {
        // A browser asks without one first.
        let Some(given) = given else { return Verdict::Ask };
        let from = neighbourhood(from);
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, wrong| now.saturating_duration_since(wrong.last) < MEMORY);
        let before = wrong.get(&from).copied();
        if before.is_some_and(|before| now < before.last + before.pause()) {
            return Verdict::Wait;
        }
        if is_equal(&self.expected, given) {
            wrong.remove(&from);
            return Verdict::Welcome;
        }
        if before.is_none() && wrong.len() >= MOST {
            let oldest = wrong.iter().min_by_key(|(_, wrong)| wrong.last).map(|(from, _)| *from);
            oldest.map(|oldest| wrong.remove(&oldest));
        }
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        wrong.insert(from, Wrong { count, last: now });
        Verdict::Ask
    }
}

impl Wrong {
    fn pause(&self) -> Duration {
        match self.count.checked_sub(FREE) {
            None | Some(0) => Duration::ZERO,
            Some(over) => (FIRST * (1 << (over - 1).min(16))).min(LONGEST),
        }
    }
}

/// What counts as one address: of IPv6 the first half, for one machine has all of the other.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Whether they are the same; the time that this takes does not tell how far they are.
fn is_equal(expected: &[u8], given: &[u8]) -> bool {
    let differing = expected.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
    expected.len() == given.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn only_the_right_password_is_let_in() {
        let guard = Guard::new(b"Basic right".into());
        let judge = |given| guard.judge(HERE, given, Instant::now());
        assert_eq!(judge(None), Verdict::Ask);
        assert_eq!(judge(Some(b"")), Verdict::Ask);
        assert_eq!(judge(Some(b"Basic righ")), Verdict::Ask);
        assert_eq!(judge(Some(b"Basic right")), Verdict::Welcome);
    }

    #[test]
    fn who_guesses_is_slowed_and_nobody_else() {
        let (guard, begun) = (Guard::new(b"right".into()), Instant::now());
        // Guesses without a pause, ten a second for an hour.
        let guesses = (0..36_000).map(|tenth| begun + Duration::from_millis(100 * tenth));
        let looked_at =
            guesses.filter(|now| guard.judge(HERE, Some(b"wrong"), *now) == Verdict::Ask);
        assert!(looked_at.count() < 75, "one a minute, and a few before");
        let now = begun + Duration::from_secs(3600);
        assert_eq!(guard.judge(HERE, Some(b"right"), now), Verdict::Wait);
        let other = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(guard.judge(other, Some(b"right"), now), Verdict::Welcome);
        assert_eq!(guard.judge(HERE, Some(b"right"), now + LONGEST), Verdict::Welcome);
        assert_eq!(guard.judge(HERE, Some(b"wrong"), now + LONGEST), Verdict::Ask);
    }

    #[test]
    fn many_addresses_take_no_more_memory_than_some() {
        let (guard, now) = (Guard::new(b"right".into()), Instant::now());
        for n in 0..3 * MOST as u128 {
            let addresses =
                [n << 64, n << 64 | 7].map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
            let _ = addresses.map(|address| guard.judge(address, Some(b"wrong"), now));
        }
        let wrong = guard.wrong.lock().unwrap();
        assert_eq!(wrong.len(), MOST);
        assert!(wrong.values().all(|wrong| wrong.count == 2), "one machine has half an address");
    }
}
