//! A queue of fixed capacity between two threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use heapless::Deque;

/// First in, first out; holds at most `N` items and never allocates.
#[derive(Debug)]
pub(super) struct Queue<T, const N: usize> {
    state: Mutex<State<T, N>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T, const N: usize> {
    items: Deque<T, N>,
    closed: bool,
}

impl<T, const N: usize> Queue<T, N> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State { items: Deque::new(), closed: false }),
            changed: Condvar::new(),
        }
    }

    /// A thread that panicked while it held the lock leaves the queue consistent, since no
    /// operation panics half-way: the poison means nothing.
    fn lock(&self) -> MutexGuard<'_, State<T, N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and appends the item. Where the queue is closed, nobody will ask for the
    /// item, and it is dropped.
    pub(super) fn push(&self, mut item: T) {
        let mut state = self.lock();
        while !state.closed {
            match state.items.push_back(item) {
                Ok(()) => {
                    self.changed.notify_all();
                    return;
                }
                Err(refused) => item = refused,
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for an item; `None` once the queue is closed and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                self.changed.notify_all();
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more items will come; those in the queue are still given out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_cross_threads_in_order_through_a_small_queue() {
        let queue = Queue::<u32, 2>::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..1000).for_each(|i| queue.push(i));
                queue.close();
            });
            let got: Vec<u32> = std::iter::from_fn(|| queue.pop()).collect();
            assert_eq!(got, (0..1000).collect::<Vec<_>>());
        });
    }

    #[test]
    fn closing_wakes_who_waits() {
        let (full, empty) = (Queue::<u32, 1>::new(), Queue::<u32, 1>::new());
        full.push(1);
        std::thread::scope(|scope| {
            let pushing = scope.spawn(|| full.push(2));
            let popping = scope.spawn(|| empty.pop());
            full.close();
            empty.close();
            pushing.join().unwrap();
            assert_eq!(popping.join().unwrap(), None);
        });
        assert_eq!((full.pop(), full.pop()), (Some(1), None));
    }
}
