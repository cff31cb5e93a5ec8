//! Punchline's messenger.

pub mod net;
