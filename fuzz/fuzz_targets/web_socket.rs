//! See `decoders::web_socket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    punchline_fuzz::decoders::web_socket(bytes);
});
