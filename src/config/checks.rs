//! What no single value shows: settings that contradict each other, or this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::duration;
use super::problem::Problem;
use super::quantity;
use super::queue::{self, QueueSettings};
use super::reader::{Complaint, Reader};
use super::{Machine, TargetSource};
use crate::admin;
use crate::admission::{Budget, BudgetError, Decimal, MAX_PERMITS};
use crate::gate::Strategy;
use crate::lifecycle::DrainSettings;
use crate::proxy::{Upstream, UpstreamAddress};

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
pub(super) fn drain(
    reader: &mut Reader,
    drain: &DrainSettings,
    queue: Option<&QueueSettings>,
    warnings: &mut Vec<Problem>,
) {
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
    let queued = queue.filter(|queue| queue.strategy == Strategy::Queue);
    if let Some(queue) = queued {
        let key = "queue.max_wait";
        queue::check_wait(reader, key, queue.max_wait, drain.timeout, warnings);
    }
}

/// What is said of a wait that is longer than a drain, or can be.
pub(super) fn outlasts_drain(
    (what_it_is, instead): (&str, &str),
    wait: Duration,
    timeout: Duration,
) -> Complaint {
    Complaint::new(
        format!(
            "{what_it_is} longer than drain.timeout ({}): what is queued when a drain begins could \
             not be served",
            duration::show(timeout)
        ),
        format!(
            "{instead}, or raise drain.timeout to at least {}",
            duration::show(wait)
        ),
    )
}

/// Who listens where, and that the backend is somebody else.
pub(super) fn addresses(
    reader: &mut Reader,
    listen: Option<SocketAddr>,
    admin: Option<&admin::Settings>,
    upstream: Option<&Upstream>,
) {
    let admin = admin.map(|admin| admin.listen);
    let upstream = upstream.map(|upstream| &upstream.address);
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
            && reaches(upstream, address, is_own)
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
fn reaches(
    upstream: &UpstreamAddress,
    listener: SocketAddr,
    is_own: impl Fn(IpAddr) -> bool,
) -> bool {
    const LOOPBACKS: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    match upstream {
        UpstreamAddress::Unix(_) => false,
        UpstreamAddress::Name(name, port) => {
            *port == listener.port()
                && is_localhost(name)
                && LOOPBACKS
                    .iter()
                    .any(|ip| hears(listener.ip(), *ip, &is_own))
        }
        UpstreamAddress::Socket(address) => {
            address.port() == listener.port() && hears(listener.ip(), address.ip(), is_own)
        }
    }
}

/// Whether a listener on one address gets what is sent to another.
fn hears(listener: IpAddr, sent_to: IpAddr, is_own: impl Fn(IpAddr) -> bool) -> bool {
    // Connecting to the unspecified address means this host.
    let sent_to = match sent_to.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    match listener {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            sent_to.is_ipv4() && (sent_to.is_loopback() || is_own(sent_to))
        }
        // Both families.
        IpAddr::V6(ip) if ip.is_unspecified() => sent_to.is_loopback() || is_own(sent_to),
        ip => ip.to_canonical() == sent_to,
    }
}

/// Whether an address is one of this host: what the host sends to itself comes from where it goes.
/// To connect a datagram socket sends nothing, and asks the system for just that. (What can be
/// bound to would be no answer: a host may be set to bind addresses that it does not have.)
fn is_own(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        // Any port but 0.
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == ip)
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn an_upstream_that_is_the_listener_is_seen() {
        for (listener, upstream, itself) in [
            ("0.0.0.0:80", "http://127.0.0.1:80", true),
            ("0.0.0.0:80", "http://127.0.0.9", true),
            ("0.0.0.0:80", "http://0.0.0.0:80", true),
            ("0.0.0.0:80", "http://[::ffff:127.0.0.1]:80", true),
            ("0.0.0.0:80", "http://LocalHost.:80", true),
            ("[::]:80", "http://127.0.0.1:80", true),
            ("[::]:80", "http://[::1]:80", true),
            ("[::1]:80", "http://localhost:80", true),
            ("[::1]:80", "http://[::]:80", true),
            ("10.0.0.1:80", "http://10.0.0.1:80", true),
            ("0.0.0.0:80", "http://127.0.0.1:81", false),
            ("0.0.0.0:80", "http://[::1]:80", false),
            ("127.0.0.1:80", "http://127.0.0.2:80", false),
            ("10.0.0.1:80", "http://127.0.0.1:80", false),
            ("10.0.0.1:80", "http://localhost:80", false),
            ("0.0.0.0:80", "http://app:80", false),
            ("0.0.0.0:80", "unix:/run/app.sock", false),
            ("0.0.0.0:80", "http://10.0.0.7:80", true),
            ("[::]:80", "http://10.0.0.7:80", true),
            ("[::]:80", "http://[fd00::7]:80", true),
            ("0.0.0.0:80", "http://[fd00::7]:80", false),
            ("0.0.0.0:80", "http://10.0.0.8:80", false),
            ("0.0.0.0:80", "http://10.0.0.7:81", false),
            ("10.0.0.1:80", "http://10.0.0.7:80", false),
        ] {
            let own = ["10.0.0.7", "fd00::7"].map(|ip| ip.parse::<IpAddr>().expect("an address"));
            let listener = parse::address(listener).expect("an address");
            let address = parse::upstream(upstream).expect("an upstream");
            let found = reaches(&address, listener, |ip| own.contains(&ip));
            assert_eq!(found, itself, "{listener} {upstream}");
        }
    }

    #[test]
    fn the_addresses_of_this_host_are_told_from_others() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        // For documentation only: nobody has it.
        assert!(!is_own([192, 0, 2, 1].into()));
        // The one that it has on a network, if it is on one: where it would send from.
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(is_own(socket.local_addr().expect("connected").ip()));
        }
    }

    #[test]
    fn two_listeners_on_one_port_collide_where_their_addresses_overlap() {
        for (one, other, collision) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "0.0.0.0:81", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            let [one, other] = [one, other].map(|text| parse::address(text).expect("an address"));
            assert_eq!(collide(one, other), collision, "{one} {other}");
            assert_eq!(collide(other, one), collision, "{other} {one}");
        }
    }
}
