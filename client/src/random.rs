//! The system's randomness, in one place.

use crate::exit::Failure;

/// Fresh random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::other(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}
