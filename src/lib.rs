//! weir: a sidecar that keeps a backend alive under any load.
//!
//! It stands in front of one backend, knows how much memory that backend may use and what one
//! request costs, and lets a request through only while a permit for it is free. What cannot run
//! now waits a short, bounded time; what cannot be served in time is refused at once, cheaply and
//! clearly. This page is the map of the crate.
//!
//! # Bird's-eye view
//!
//! ```text
//!              ┌──────────────────────────── weir ────────────────────────────┐
//!  clients ───▶│ proxy: sniff → head → gate? ──permit──▶ forward → stream both │───▶ backend
//!  (h1, h2)    │                        │  └─ waits: channel → policy          │  (h1, h2c,
//!              │                        └──── reject: 503 / RESOURCE_EXHAUSTED │   TCP, Unix)
//!              │ admin: /livez /readyz /metrics /status /config                │
//!              └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! `permits = floor(target_memory / memory_per_task × safety_factor)`, in exact integers.
//!
//! # The life of a request
//!
//! 1. [`proxy`] accepts the connection, gives it to the worker with the fewest, and finds out in
//!    bounded time whether it speaks HTTP/1.1 or HTTP/2, with TLS by what was agreed on (ALPN).
//! 2. The head is checked and rewritten for the backend. What peers could read in two ways is
//!    refused.
//! 3. Its head says what it is to the gate: class, cost, deadline, tenant ([`admission::classify`]).
//!    The [`gate`] decides: a permit at once, a place in the queue, or a [reject
//!    reason](admission::RejectReason). A queued request is let go when its wait ends, its client
//!    leaves, or the [policy](admission::Policy) prefers others.
//! 4. With a permit, the request goes to the backend over a pooled connection, and both bodies are
//!    streamed. The permit is owned by the exchange and returns when the response *and* the upload
//!    have ended, or the connection that carried them is closed.
//! 5. However it ends, it is counted once, under one [outcome](admission::Outcome).
//!
//! # Code map
//!
//! | module | owns | never |
//! |---|---|---|
//! | [`admission`] | units, the formula, routes, costs, who is next and who must go, reasons, outcomes | IO, clocks, metrics, tokio |
//! | [`gate`] | channel, semaphore, ledger, pump, tickets, permits, resizing | awaits a permit, knows HTTP |
//! | [`proxy`] | connections, heads, bodies, the upstream pool, answers of weir's own, the drain | decides admission |
//! | [`dispatcher`] | the gate in front of work that is no HTTP | has a task or a queue of its own |
//! | `tower` | the gate as a layer, with the feature of that name | is part of the binary |
//! | `held` | a permit with the work that it is held for | |
//! | [`telemetry`] | metric names, counters, histograms, logs, overload, demand | labels that a client chose |
//! | [`admin`] | the admin port and its page | answers that depend on load |
//! | [`lifecycle`] | phases and signals | goes back |
//! | [`config`] | layers, provenance, validation | is known by the code it configures |
//! | [`run`] | puts the sidecar together, reloads, takes it apart | |
//! | [`load`] | the demo's backend and the open-loop load generator | knows anything of weir |
//! | [`cli`] | subcommands and exit codes | |
//! | `platform` | what only Linux has, with a plain fallback | |
//! | `sync` | the primitives of the gate, which the model checker replaces | |
//!
//! # Invariants
//!
//! 1. Available + held units = limit + debt, and while there is debt nothing is available.
//! 2. Somebody queued ⇒ the policy's choice does not fit. No wake-up is lost.
//! 3. Arrived = served + failed + rejected + abandoned + cancelled + bypassed + in flight + queued.
//! 4. A permit is returned exactly once, whatever is dropped, cancelled or panics.
//! 5. Inside a class and a tenant, the order is the configured one, backfill excepted.
//! 6. Draining rejects nobody who holds a permit or a place in the queue.
//!
//! `tests/it/gate.rs` and its neighbours assert them against a naive model, `tests/model` under a
//! model checker's schedules, and the integration tests from outside, by the metrics. What the policy
//! makes of load is shown by `tests/simulation`, which drives it with a clock of its own.
//!
//! # Who may import whom
//!
//! ```text
//! sync, platform -> std (sync: tokio's channel and semaphore, too)
//! admission      -> std only
//! gate           -> admission, sync
//! held           -> gate
//! dispatcher     -> gate, admission, held
//! tower          -> gate, admission, held
//! telemetry      -> admission
//! lifecycle      -> std, tokio
//! proxy          -> gate, admission, telemetry, lifecycle, platform
//! admin          -> gate, telemetry, lifecycle
//! load           -> nothing of ours
//! config         -> the settings types beside the code they configure; platform
//! run, cli       -> everything
//! ```
//!
//! A `tidy` test holds this table, and that every metric and config key is documented.
//!
//! # Where this differs from the design it grew from
//!
//! * Settings that are known before they have an effect do not exist: memory signals are unknown keys
//!   today.
//! * Of several deadlines that a request states, the smallest counts, not the first of a list: whoever
//!   gives up first makes the rest of the work useless.
//! * `max` of a cost binds bodies of a known length, too: who claims terabytes would else wait until
//!   it can run alone, and everybody else behind it.
//! * `Forwarded` is extended only where the client used it; `X-Forwarded-For` always is.
//! * Private addresses are believed what they say of others (`trust.proxies`): a sidecar stands
//!   behind an ingress, and must not hide from the app what that says.
//! * What hyper mends in silence (a length beside a coding, equal lengths, a fragment) is found in
//!   the bytes before hyper reads them, and its bare refusals are given their reason on the way out.
//! * A waiting request is charged what it was measured to take, 14 KiB on HTTP/1.1 (22 KiB
//!   over TLS) and 4 KiB on HTTP/2, and not 10 and 3 KiB.
//! * A permit keeps its units by number, taken from the semaphore by `try_acquire_many` and given
//!   back by `add_permits`: tokio's owned permit would count the semaphore's owners, too. The pump's
//!   dirty mark is a counter that also says whose turn it is. Both save time (BENCHMARKS.md).
//! * Histograms are our own, appended to what the exporter renders: the exporter's read the clock
//!   and keep every sample until somebody drains them.
//! * The time between requests is kept by us on HTTP/1.1, too: hyper's `header_read_timeout` sets up
//!   and takes down a timer with every request.
//! * An HTTP/1.1 connection to the backend has no task of its own: the request that has borrowed it
//!   polls it. A connection between two requests is driven by nobody.
//! * The pool's shards have a lock each, which only its worker takes while it has idle connections:
//!   to take one, lock and all, is 133 of a request's 38,000 instructions.
//! * Tunnels are told to end when two seconds of the drain are left, if `max_wait` is shorter: one
//!   second would end with the drain itself.
//! * The budget of weir's own retries is `[retry]`; `[retry_budget]` is about retries that clients send.
//! * `CoDel` differs from the design's (and folly's): a queue stands by the time that its oldest was
//!   delayed *and* only while somebody gives up; by delay alone it refused bursts and closed loops that
//!   a plain queue serves in time. With that it is the default, and so is the adaptive order.
//! * Of requests that nobody waits for, one in sixteen tells the policy how long it took, once service
//!   times are known, and fewer at high rates: all others take a permit without a look at it.
//! * Where classes or tenants are told apart, every arrival goes down the channel: the pump asks the
//!   policy, and mostly answers before the arrival looks.
//! * In shadow mode a request holds no units of the semaphore, and the bounds of the queue by number and
//!   bytes are not part of what is counted.
//! * A tunnel whose permit was released is in no gauge of the gate, and counted as served when it
//!   ends: `weir_tunnels` shows it meanwhile, and the drain waits for it.
//! * What h2 neither bounds nor tells (floods of small frames, malformed requests that it resets, responses
//!   that it holds for a client that does not read) is found in the heads of the frames that pass the
//!   connection's IO.
//! * h2's window of a whole connection is larger than its streams can fill: h2 takes half of it for
//!   the cost of small frames that wait.
//! * An upload of unknown length is charged to the queue as if all that may be read ahead of it
//!   were there: 16 KiB on HTTP/1, one stream window on HTTP/2.

pub mod admin;
pub mod admission;
pub mod cli;
pub mod config;
pub mod dispatcher;
pub mod gate;
mod held;
pub mod lifecycle;
pub mod load;
mod platform;
pub mod proxy;
pub mod run;
mod sync;
pub mod telemetry;
#[cfg(feature = "tower")]
pub mod tower;

pub use dispatcher::Dispatcher;
pub use gate::Gate;
