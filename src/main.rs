//! The `weir` binary.

use std::process::ExitCode;

/// Chosen by measurement (BENCHMARKS.md): it takes less CPU per request than the system's, holds
/// least per waiting request, and gives memory back after a burst.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    weir::cli::main()
}
