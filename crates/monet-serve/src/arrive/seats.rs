//! How many associations there are, and how many of each address: one address leaves seats to the
//! others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections over a limit that are told so at the same time; more are not answered at all.
const TOLD: usize = 8;
/// The same, of one address.
const TOLD_EACH: usize = 2;

/// The seats of a listener.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    each: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's seat while it lives.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    peer: IpAddr,
}

impl Seats {
    /// So many for all, and so many for each address.
    pub(super) fn new(most: u16, each: u16) -> Self {
        Self { most: most.into(), each: each.into(), taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seats that are taken.
    pub(super) fn open(&self) -> usize {
        self.taken().values().sum()
    }

    /// A seat, which may be one of those that are told that there is none.
    ///
    /// # Errors
    /// Why there is not even such a one.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Seat, &'static str> {
        let mut taken = self.taken();
        let all: usize = taken.values().sum();
        let his = taken.get(&peer).copied().unwrap_or(0);
        if his >= self.each + TOLD_EACH {
            return Err("its address has too many associations");
        }
        if all >= self.most + TOLD {
            return Err("there are too many associations");
        }
        taken.insert(peer, his + 1);
        Ok(Seat { seats: self.clone(), peer })
    }
}

impl Seat {
    /// Whose it is.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether it is one over a limit.
    pub(super) fn is_over(&self) -> bool {
        let taken = self.seats.taken();
        let his = taken.get(&self.peer).copied().unwrap_or(0);
        his > self.seats.each || taken.values().sum::<usize>() > self.seats.most
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_seats_to_the_others() {
        let seats = Arc::new(Seats::new(32, 16));
        let [rude, other] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
        let taken: Vec<_> = (0..60).filter_map(|_| seats.take(rude).ok()).collect();
        assert_eq!(taken.len(), 18, "two are told that they are too many");
        assert!(taken[0].is_over());
        let one = seats.take(other).unwrap();
        assert!(!one.is_over());
        drop(taken);
        assert_eq!(seats.open(), 1);
        drop(one);
        assert_eq!((seats.open(), seats.taken().len()), (0, 0));
    }

    #[test]
    fn all_together_have_a_limit() {
        let seats = Arc::new(Seats::new(3, 2));
        let peers = (0..20).map(|n| IpAddr::from([10, 0, 0, n]));
        let taken: Vec<_> = peers.filter_map(|peer| seats.take(peer).ok()).collect();
        assert_eq!(taken.len(), 3 + TOLD);
    }
}
