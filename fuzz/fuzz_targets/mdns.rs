//! See `decoders::mdns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    punchline_fuzz::decoders::mdns(bytes);
});
