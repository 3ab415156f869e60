//! A permit with the work that it is held for: what does not come to its end is not taken for a
//! measure of how long such work takes.

use crate::gate::Permit;

/// Holds a permit. Dropped before [`whole`](Self::whole) was said, by whatever reason, the permit
/// goes back as [cut](Permit::cut).
#[derive(Debug)]
pub(crate) struct Held(Option<Permit>);

impl Held {
    pub(crate) fn new(permit: Permit) -> Self {
        Self(Some(permit))
    }

    /// The work has come to its end: the permit goes back.
    pub(crate) fn whole(mut self) {
        self.0.take();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(permit) = &mut self.0 {
            permit.cut();
        }
    }
}
