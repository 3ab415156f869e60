//! What no single value shows: settings that contradict each other, or this machine.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::duration;
use super::problem::Problem;
use super::quantity;
use super::reader::{Complaint, Reader};
use super::{Machine, TargetSource};
use crate::admission::{Budget, BudgetError, Decimal, MAX_PERMITS};
use crate::gate::{Bounds, Strategy};
use crate::lifecycle::DrainSettings;
use crate::proxy::UpstreamAddress;

/// How much is left between the end of a drain and the platform's kill.
const MARGIN: Duration = Duration::from_secs(1);

/// The permits that the memory is worth.
pub(super) fn budget(
    reader: &mut Reader,
    target: &TargetSource,
    per_task: u64,
    factor: Decimal,
    machine: &Machine,
) -> Option<Budget> {
    let bytes = target.bytes();
    if let Some(total) = machine.total_memory.filter(|total| bytes > *total) {
        reader.problem(
            "memory.target_memory",
            Complaint::new(
                format!(
                    "{} bytes is more than this machine has ({total} bytes)",
                    quantity::show(bytes)
                ),
                "set it to the backend container's memory limit less what the backend holds when \
                 idle",
            ),
        );
        return None;
    }
    let arithmetic = format!(
        "{} × {factor} ÷ {}",
        quantity::show(bytes),
        quantity::show(per_task)
    );
    let complaint = match Budget::new(bytes, per_task, factor) {
        Ok(budget) => return Some(budget),
        Err(BudgetError::NoPermit) => Complaint::new(
            format!(
                "it makes 0 permits: {arithmetic} = {}",
                permits_in_thousandths(bytes, per_task, factor)
            ),
            "raise memory.target_memory or memory.safety_factor, or lower memory.memory_per_task, \
             until at least one request fits",
        ),
        Err(BudgetError::TooManyPermits(permits)) => Complaint::new(
            format!("it makes {permits} permits, more than {MAX_PERMITS}: {arithmetic}"),
            "check the suffix of memory.memory_per_task; if no request takes more, lower \
             memory.target_memory",
        ),
    };
    reader.problem("memory.target_memory", complaint);
    None
}

/// The formula's quotient with three decimals, rounded down.
pub(super) fn permits_in_thousandths(target: u64, per_task: u64, factor: Decimal) -> String {
    let thousandths = factor.of(target.saturating_mul(1000)) / per_task;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// The phases of a drain against the grace that the platform grants, and against the queue.
pub(super) fn drain(reader: &mut Reader, drain: &DrainSettings, bounds: Option<&Bounds>) {
    let needed = drain.lame_duck + drain.timeout + MARGIN;
    if needed > drain.grace {
        let shown = duration::show;
        reader.problem(
            "drain.grace",
            Complaint::new(
                format!(
                    "drain.lame_duck {} + drain.timeout {} + {} to end is {}: the platform would \
                     kill weir before it is done",
                    shown(drain.lame_duck),
                    shown(drain.timeout),
                    shown(MARGIN),
                    shown(needed)
                ),
                format!(
                    "raise drain.grace to {} and terminationGracePeriodSeconds with it, or lower \
                     the other two",
                    shown(needed)
                ),
            ),
        );
    }
    let queued = bounds.filter(|bounds| bounds.strategy == Strategy::Queue);
    if let Some(bounds) = queued.filter(|bounds| bounds.max_wait > drain.timeout) {
        reader.problem(
            "queue.max_wait",
            Complaint::new(
                format!(
                    "it is longer than drain.timeout ({}): what is queued when a drain begins \
                     could not be served",
                    duration::show(drain.timeout)
                ),
                format!(
                    "lower it, or raise drain.timeout to at least {}",
                    duration::show(bounds.max_wait)
                ),
            ),
        );
    }
}

/// Who listens where, and that the backend is somebody else.
pub(super) fn addresses(
    reader: &mut Reader,
    listen: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    upstream: Option<&UpstreamAddress>,
) {
    if let (Some(listen), Some(admin)) = (listen, admin)
        && collide(listen, admin)
    {
        reader.problem(
            "admin.listen",
            Complaint::new(
                format!("it is the same address as listen ({listen})"),
                "give the admin port another number, such as 0.0.0.0:9900",
            ),
        );
    }
    let ours = [("listen", listen), ("admin.listen", admin)];
    for (key, address) in ours {
        if let (Some(address), Some(upstream)) = (address, upstream)
            && reaches(upstream, address)
        {
            reader.problem(
                "upstream",
                Complaint::new(
                    format!("it is weir itself ({key} is {address})"),
                    "name the address that the backend listens on; if the backend has this port, \
                     move one of the two",
                ),
            );
        }
    }
}

/// Whether both cannot be bound at once. Port 0 is a port of its own each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Whether a connection to `upstream` would arrive at `listener`.
fn reaches(upstream: &UpstreamAddress, listener: SocketAddr) -> bool {
    let (ip, port) = match upstream {
        UpstreamAddress::Socket(address) => (Some(address.ip()), address.port()),
        UpstreamAddress::Name(name, port) => (loopback_name(name), *port),
        UpstreamAddress::Unix(_) => return false,
    };
    let Some(ip) = ip.filter(|_| port == listener.port()) else {
        return false;
    };
    // Connecting to the unspecified address means this host.
    let this_host = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    ip == listener.ip() || (this_host(ip) && this_host(listener.ip()))
}

fn loopback_name(name: &str) -> Option<IpAddr> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost"))
        .then_some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
}

/// Enough descriptors for what may be open at once.
pub(super) fn descriptors(
    reader: &Reader,
    max_connections: usize,
    permits: u32,
    machine: &Machine,
) -> Option<Problem> {
    let limit = machine.descriptor_limit?;
    let connections = u64::try_from(max_connections).unwrap_or(u64::MAX);
    // Towards the upstream there are at most as many as there are permits.
    let needed = connections
        .saturating_add(connections.min(u64::from(permits)))
        .saturating_add(64);
    (needed > limit).then(|| {
        reader.warning(
            "limits.max_connections",
            Complaint::new(
                format!(
                    "up to {needed} descriptors may be needed, and this process may open {limit}"
                ),
                "raise the limit (ulimit -n), lower it, or write \"auto\"",
            ),
        )
    })
}
