//! Whatever a table of kernels holds: no panic, no endless loop.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbench::testing::profile::digest_bytes;

fuzz_target!(|input: &[u8]| {
    digest_bytes(input.to_vec(), true);
});
