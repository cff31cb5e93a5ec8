//! See `decoders::to_server`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    punchline_fuzz::decoders::to_server(bytes);
});
