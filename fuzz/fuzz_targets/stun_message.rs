//! See `decoders::stun_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    punchline_fuzz::decoders::stun_message(bytes);
});
