//! Who is woken when something happens on a connection: the request that has it now.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

/// A waker for as long as the connection lives, so that what is registered with it need not change
/// with every request.
///
/// While the holder takes something out of the connection it is held still for the holder's thread:
/// hyper tells the connection that there is room again, and the holder would be woken by its own
/// hand. It polls the connection before it waits for anything the next time, so that nothing is
/// missed. What happens on the socket may ring on another thread, and is heard.
#[derive(Debug)]
pub(super) struct Bell {
    held: Arc<Held>,
    waker: Waker,
}

#[derive(Debug)]
struct Held {
    holder: Mutex<Waker>,
}

thread_local! {
    /// Whether what rings on this thread is rung by its own hand.
    static IS_STILL: Cell<bool> = const { Cell::new(false) };
}

impl Bell {
    pub(super) fn new() -> Self {
        let held = Arc::new(Held {
            holder: Mutex::new(Waker::noop().clone()),
        });
        Self {
            waker: Waker::from(held.clone()),
            held,
        }
    }

    /// What the connection is polled with on behalf of this holder.
    pub(super) fn rings_for(&self, holder: &Waker) -> Context<'_> {
        let mut current = self.held.holder.lock().expect("nothing panics under it");
        if !current.will_wake(holder) {
            current.clone_from(holder);
        }
        Context::from_waker(&self.waker)
    }

    /// Does something that rings by itself.
    pub(super) fn while_still<T>(take: impl FnOnce() -> T) -> T {
        let _still = Still::begin();
        take()
    }
}

/// Ends also with a panic, or nothing would ring on this thread any more.
struct Still;

impl Still {
    fn begin() -> Self {
        IS_STILL.set(true);
        Self
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        IS_STILL.set(false);
    }
}

impl Wake for Held {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !IS_STILL.get() {
            let holder = self.holder.lock().expect("nothing panics under it");
            holder.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Fails when a panic leaves it still (tried).
    #[test]
    fn it_is_still_for_its_own_hand_only() {
        let count = Arc::new(Count::default());
        let bell = Bell::new();
        let waker = bell.rings_for(&Waker::from(count.clone())).waker().clone();
        let rung = || count.0.load(Ordering::Relaxed);

        waker.wake_by_ref();
        assert_eq!(rung(), 1);
        Bell::while_still(|| {
            waker.wake_by_ref();
            assert_eq!(rung(), 1, "by its own hand");
            let elsewhere = waker.clone();
            let thread = std::thread::spawn(move || elsewhere.wake());
            thread.join().expect("no panic");
        });
        assert_eq!(rung(), 2, "by another's");
        let panicking = || Bell::while_still(|| panic!("as this test wants"));
        assert!(catch_unwind(AssertUnwindSafe(panicking)).is_err());
        waker.wake();
        assert_eq!(rung(), 3, "after a panic");
    }
}
