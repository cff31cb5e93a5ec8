//! Stories of Alice and Bob.
