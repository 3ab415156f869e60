//! What the gate tells of its classes, for metrics.

use super::{Gate, Mode};
use crate::admission::{ClassId, Quantiles, RejectReason};

/// One class as its gate knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassReading {
    /// Its weight among the others.
    pub weight: u32,
    /// How many of it would have been refused in [`Mode::Shadow`], in the order of
    /// [`RejectReason::ALL`].
    pub shadow_rejected: [u64; RejectReason::ALL.len()],
    /// How long its requests hold their permits, once enough were measured.
    pub service: Option<Quantiles>,
}

impl Gate {
    /// Every class of the rules, in their order.
    #[must_use]
    pub fn classes(&self) -> Vec<ClassReading> {
        let live = self.core.live.load();
        let classes = (0..).map(ClassId).zip(&live.rules.policy.classes);
        classes
            .map(|(class, settings)| ClassReading {
                weight: settings.weight,
                shadow_rejected: RejectReason::ALL
                    .map(|reason| self.shadow_rejected(class, reason)),
                service: self.service(class),
            })
            .collect()
    }

    /// Whether nobody is refused.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.core.live.load().rules.mode == Mode::Shadow
    }
}
