//! See `decoders::tunnel_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    punchline_fuzz::decoders::tunnel_request(bytes);
});
