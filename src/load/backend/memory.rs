//! Memory that is really there.

/// No page of any Linux is smaller.
const PAGE_BYTES: usize = 4096;

/// Allocates so much and touches every page of it, so that the kernel counts it until it is dropped.
pub(super) fn occupy(bytes: u64) -> Vec<u8> {
    let mut block = vec![0_u8; usize::try_from(bytes).unwrap_or(usize::MAX)];
    for page in block.chunks_mut(PAGE_BYTES) {
        page[0] = 1;
    }
    // Nobody reads the block: without this the compiler may drop the writes.
    std::hint::black_box(block)
}
