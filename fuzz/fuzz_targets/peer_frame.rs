//! See `decoders::peer_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    punchline_fuzz::decoders::peer_frame(bytes);
});
