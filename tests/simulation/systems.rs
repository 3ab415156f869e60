//! What is compared, by name.

use weir::admission::{
    ClassSettings, Discipline, Doom, RetryLimits, Settings, Switch, TenantSettings,
};

use super::server::{AdaptiveConcurrency, CheckThenAct, Fifo, NoGate, Server, Weir};
use super::world::SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum System {
    NoGate,
    CheckThenAct,
    /// A queue in order of arrival, ten times as deep as there are permits: Knative's.
    FifoDepth,
    /// `maxconn` and `timeout queue 1s`.
    Haproxy,
    Envoy,
    /// weir without a rule of its own: in order of arrival, one second.
    WeirPlain,
    /// The same with `CoDel`, still in order of arrival.
    WeirCodel,
    /// All of it: what a case asks for on top of `CoDel` and adaptive order.
    Weir,
}

impl System {
    pub(crate) const ALL: [Self; 8] = [
        Self::NoGate,
        Self::CheckThenAct,
        Self::FifoDepth,
        Self::Haproxy,
        Self::Envoy,
        Self::WeirPlain,
        Self::WeirCodel,
        Self::Weir,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoGate => "no gate",
            Self::CheckThenAct => "check-then-act",
            Self::FifoDepth => "FIFO, depth 10×",
            Self::Haproxy => "HAProxy maxconn",
            Self::Envoy => "Envoy adaptive",
            Self::WeirPlain => "weir, plain queue",
            Self::WeirCodel => "weir, CoDel FIFO",
            Self::Weir => "weir, all on",
        }
    }

    /// One with so many permits. `all` is what the case turns on in weir.
    pub(crate) fn server(self, permits: u32, all: &Settings, seed: u64) -> Box<dyn Server> {
        let plain = |codel| Settings {
            classes: all
                .classes
                .iter()
                .map(|class| ClassSettings {
                    codel,
                    max_wait: class.max_wait,
                    ..ClassSettings::default()
                })
                .take(1)
                .collect(),
            ..Settings::default()
        };
        match self {
            Self::NoGate => Box::new(NoGate),
            Self::CheckThenAct => Box::new(CheckThenAct { free: permits }),
            Self::FifoDepth => Box::new(Fifo::with_depth(permits, 10 * permits as usize)),
            Self::Haproxy => Box::new(Fifo::haproxy(permits, SECOND)),
            Self::Envoy => Box::new(AdaptiveConcurrency::new(seed)),
            Self::WeirPlain => Box::new(Weir::new(permits, plain(Switch::Off))),
            Self::WeirCodel => Box::new(Weir::new(permits, plain(Switch::On))),
            Self::Weir => Box::new(Weir::new(
                permits,
                Settings {
                    seed,
                    ..all.clone()
                },
            )),
        }
    }
}

/// A class with everything on.
pub(crate) fn class(weight: u32, importance: u8) -> ClassSettings {
    ClassSettings {
        weight,
        importance,
        discipline: Discipline::Adaptive,
        codel: Switch::On,
        ..ClassSettings::default()
    }
}

/// Everything on, with these classes.
pub(crate) fn all_on(classes: Vec<ClassSettings>) -> Settings {
    Settings {
        classes,
        tenants: None,
        retries: Some(RetryLimits {
            share: "0.2".parse().expect("a decimal"),
            per_second: 1,
        }),
        doom: Some(Doom::default()),
        cut_off: Switch::On,
        backfill_percent: 25,
        seed: 0,
    }
}

/// The same with tenants told apart.
pub(crate) fn with_tenants(settings: Settings) -> Settings {
    Settings {
        tenants: Some(TenantSettings::default()),
        ..settings
    }
}
