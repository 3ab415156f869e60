//! From what was typed to what it means.
//!
//! Four layers (`source`) are merged by figment, which keeps where each value came from. A reader
//! (`reader`) walks the result key by key (`settings`, `parse`), then values are checked against
//! each other and this machine (`checks`). **Every problem is found in one go**, each with key,
//! value, source and remedy, and what nobody reads is an unknown key. The result, [`Config`], is
//! made of the settings types that live beside the code they configure; nothing else in the crate
//! knows this module.
//!
//! A reload loads everything again, files included, and asks [`changes()`] what differs.

mod changes;
mod checks;
mod classes;
mod conditions;
mod duration;
mod files;
mod hints;
mod parse;
mod policy;
mod problem;
mod quantity;
mod queue;
mod reader;
mod route_table;
mod routes;
mod service_links;
mod settings;
mod source;
mod target;
mod tls;
mod unique;
mod value;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admission::Budget;
use crate::gate::Rules;
use crate::lifecycle::DrainSettings;
use crate::proxy::HeadClassifier;
use crate::proxy::TunnelPermit;
use crate::telemetry::LogSettings;
use crate::{admin, platform, proxy};

pub use changes::{Changes, changes};
pub(crate) use duration::{parse as parse_duration, show as show_duration};
pub use files::Watched;
pub use policy::{Class, Policy, Tenants};
pub use problem::{Problem, Problems};
pub use quantity::{Quantity, show as show_quantity};
pub(crate) use queue::show_max_wait;
pub use reader::Effective;
use reader::Reader;
use source::Gathered;
pub use source::Sources;
pub use target::TargetSource;

/// Everything that can be set, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// How many worker threads.
    pub workers: usize,
    /// The admin port.
    pub admin: admin::Settings,
    /// The memory that permits are cut from.
    pub budget: Budget,
    /// Where the target memory came from.
    pub target: TargetSource,
    /// What the gate is told besides the budget.
    pub rules: Rules,
    /// Routes and classes.
    pub policy: Policy,
    /// The data path.
    pub proxy: proxy::Settings,
    /// How weir goes.
    pub drain: DrainSettings,
    /// What is logged.
    pub log: LogSettings,
}

/// A configuration, and what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// Every value with its source, in the order of `config/default.toml`.
    pub effective: Vec<Effective>,
    /// What is allowed and unwise.
    pub warnings: Vec<Problem>,
}

/// What a configuration is checked against; `None` where the system does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory of this machine.
    pub total_memory: Option<u64>,
    /// The memory limit of weir itself, in bytes.
    pub own_memory_limit: Option<u64>,
    /// How many descriptors weir may open.
    pub descriptor_limit: Option<u64>,
    /// How many threads can run at once.
    pub parallelism: usize,
}

impl Machine {
    /// The one that this process runs on.
    #[must_use]
    pub fn this() -> Self {
        Self {
            total_memory: platform::total_memory(),
            own_memory_limit: platform::own_memory_limit(),
            descriptor_limit: platform::descriptor_limit(),
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Reads and checks everything.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    load_on(sources, &Machine::this())
}

/// Only where the admin port is: what a command needs that talks to a running weir, whose memory
/// figures it need not know.
pub fn admin_address(sources: &Sources) -> Result<SocketAddr, Problems> {
    let Gathered {
        layers, problems, ..
    } = sources.gather();
    if problems.iter().any(Problem::is_about_the_file) {
        return Err(Problems(problems));
    }
    let mut reader = Reader::new(&layers, problems);
    match settings::admin(&mut reader) {
        Some(admin) => Ok(admin.listen),
        // Not `finish`: to this reader every other key is unknown.
        None => Err(Problems(reader.into_problems())),
    }
}

/// The same for a machine that is told.
pub fn load_on(sources: &Sources, machine: &Machine) -> Result<Loaded, Problems> {
    load_watched(sources, machine).1
}

/// The same, and the files that decide about it: as long as none of them changes, another load
/// gives the same, be it a configuration or problems.
pub fn load_watched(sources: &Sources, machine: &Machine) -> (Watched, Result<Loaded, Problems>) {
    let Gathered {
        layers,
        problems,
        mut warnings,
        mut watched,
    } = sources.gather();
    // Without its file a configuration is not half known but unknown: what then seems to be
    // unset would only hide what is wrong with the file.
    if problems.iter().any(Problem::is_about_the_file) {
        return (watched, Err(Problems(problems)));
    }
    let mut reader = Reader::new(&layers, problems);
    let config = read(&mut reader, machine, &mut warnings, &mut watched);
    let (effective, problems) = reader.finish(&layers);
    let loaded = match config {
        Some(config) if problems.is_empty() => Ok(Loaded {
            config,
            effective,
            warnings,
        }),
        _ => Err(Problems(problems)),
    };
    (watched, loaded)
}

fn read(
    reader: &mut Reader,
    machine: &Machine,
    warnings: &mut Vec<Problem>,
    watched: &mut Watched,
) -> Option<Config> {
    let listen = reader.read("listen", parse::address);
    let upstream = settings::upstream(reader);
    let workers = settings::workers(reader, machine);
    let mode = settings::mode(reader, warnings);
    let admin = settings::admin(reader);
    let (target, per_task, budget) = memory(reader, machine, warnings, watched);
    let queue = queue::read(reader, machine, warnings);
    let reject = settings::reject(reader);
    let given = policy::Given {
        per_task,
        budget: budget.as_ref(),
        queue: queue.as_ref(),
        reject: reject.as_ref(),
    };
    let policy = policy::read(reader, &given, warnings);
    let tls = tls::read(reader, warnings, watched);
    let timeouts = settings::timeouts(reader);
    let tunnel_permit = settings::tunnel_permit(reader);
    let retries = settings::retries(reader);
    // Tunnels without permits are as many as clients make.
    let is_bounded = tunnel_permit != Some(TunnelPermit::Release);
    let permits = budget.as_ref().map(Budget::permit_limit);
    let limits = settings::limits(reader, machine, permits.filter(|_| is_bounded), warnings);
    let trust = settings::trust(reader);
    let drain = settings::drain(reader);
    let log = settings::log(reader);

    if let Some((drain, _)) = &drain {
        checks::drain(reader, drain, queue.as_ref(), warnings);
    }
    if let (Some(policy), Some(trust), Some((drain, _))) = (&policy, &trust, &drain) {
        policy.check(reader, trust, drain, warnings);
    }
    checks::addresses(reader, listen, admin.as_ref(), upstream.as_ref());

    let (drain, cancel_grace) = drain?;
    let (policy, trust) = (policy?, trust?);
    Some(Config {
        listen: listen?,
        workers: workers?,
        admin: admin?,
        budget: budget?,
        target: target?,
        rules: policy.rules(mode?, &queue?),
        proxy: proxy::Settings {
            upstream: upstream?,
            tls,
            reject: reject?,
            timeouts: timeouts?,
            limits: limits?,
            trust,
            classifier: Arc::new(HeadClassifier::new(policy.classifier.clone())),
            statuses: policy.classes.iter().map(|class| class.status).collect(),
            tunnel_permit: tunnel_permit?,
            retries: retries?,
            cancel_grace,
        },
        policy,
        drain,
        log: log?,
    })
}

/// The memory that permits are cut from, what a request takes of it, and the permits.
fn memory(
    reader: &mut Reader,
    machine: &Machine,
    warnings: &mut Vec<Problem>,
    watched: &mut Watched,
) -> (Option<TargetSource>, Option<u64>, Option<Budget>) {
    let target = target::read(reader, machine.total_memory, warnings, watched);
    let per_task = settings::per_task(reader, warnings);
    let factor = settings::safety_factor(reader);
    let known = target.as_ref().zip(per_task).zip(factor);
    let budget = known.and_then(|((target, per_task), factor)| {
        checks::budget(reader, target, per_task, factor, machine)
    });
    (target, per_task, budget)
}

/// `target × factor ÷ per task` with three decimals, rounded down, for showing the arithmetic.
#[must_use]
pub fn show_quotient(budget: &Budget) -> String {
    checks::permits_in_thousandths(
        budget.target_memory(),
        budget.memory_per_task(),
        budget.safety_factor(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The paths of all values in a file, by indentation-free reading of its lines: shares nothing
    /// with the reader.
    fn keys_in(text: &str) -> BTreeSet<String> {
        let mut table = String::new();
        let mut keys = BTreeSet::new();
        for line in text.lines() {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                table = format!("{name}.");
            } else if let Some((name, _)) = line.split_once(" = ")
                && !line.starts_with('#')
            {
                keys.insert(format!("{table}{name}"));
            }
        }
        keys
    }

    /// Lists of tables, of which there are none by default.
    const LISTS: [&str; 2] = ["class", "route"];

    #[test]
    fn the_reference_has_every_key_that_is_read_and_no_other() {
        let layers = Sources::default().gather().layers;
        let mut reader = Reader::new(&layers, Vec::new());
        let machine = Machine {
            total_memory: None,
            own_memory_limit: None,
            descriptor_limit: None,
            parallelism: 1,
        };
        let watched = &mut Watched::default();
        read(&mut reader, &machine, &mut Vec::new(), watched);
        for key in reader.asked() {
            let variable = format!("WEIR__{}", key.to_uppercase().replace('.', "__"));
            assert!(!service_links::looks_like_one(&variable), "{key}");
        }
        let mut in_comments = Vec::new();
        let mut asked = BTreeSet::new();
        for key in reader.asked() {
            let files = ["tls.certificate", "tls.key", "tls.client_ca"];
            let is_row = key
                .split(['.', '['])
                .next()
                .is_some_and(|list| LISTS.contains(&list));
            if key.starts_with("memory.target_memory")
                || key == "memory.memory_per_task"
                || files.contains(&key.as_str())
                || is_row
            {
                in_comments.push(key);
            } else {
                asked.insert(key);
            }
        }
        assert_eq!(keys_in(source::DEFAULTS), asked);
        assert_eq!(in_comments.len(), 33, "{in_comments:?}");
        for key in in_comments {
            let name = key.rsplit('.').next().expect("a last part");
            let written = if LISTS.contains(&name) {
                format!("[[{name}]]")
            } else {
                format!("{name} = ")
            };
            let explained = |line: &str| line.starts_with('#') && line.contains(&written);
            assert!(source::DEFAULTS.lines().any(explained), "{key}");
        }
    }

    #[test]
    fn what_is_in_effect_is_listed_in_the_order_of_the_reference() {
        let sources = Sources {
            sets: vec![
                "memory.target_memory=1Mi".to_owned(),
                "memory.memory_per_task=1Ki".to_owned(),
            ],
            ..Sources::default()
        };
        let loaded = load(&sources).expect("valid");
        let place = |key: &str| {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
            let start = source::DEFAULTS
                .find(&format!("\n[{table}]\n"))
                .unwrap_or(0);
            let line = source::DEFAULTS[start..].find(&format!("\n{name} = "));
            line.map(|line| start + line)
        };
        let places: Vec<_> = loaded
            .effective
            .iter()
            .filter_map(|one| place(&one.key))
            .collect();
        assert_eq!(places.len(), loaded.effective.len() - 2);
        assert!(places.is_sorted(), "{:?}", loaded.effective);
    }
}
