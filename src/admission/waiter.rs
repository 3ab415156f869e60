//! Who waits, as far as the queue needs to know them, and from which end they are served.

/// In what order waiting requests are granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Fifo,
    /// Newest first: under overload the newest client is the one most likely to be still there.
    Lifo,
}

/// Somebody who waits.
pub trait Waiter {
    /// False once the client left or the wait ended: the entry is then a husk.
    fn is_waiting(&self) -> bool;
}
