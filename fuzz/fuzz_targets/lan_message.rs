//! See `decoders::lan_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    punchline_fuzz::decoders::lan_message(bytes);
});
