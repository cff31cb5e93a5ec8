//! See `decoders::sealed_box`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    punchline_fuzz::decoders::sealed_box(bytes);
});
