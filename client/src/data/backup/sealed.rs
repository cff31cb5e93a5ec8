//! Bytes under a passphrase, in a file:
//!
//! ```text
//! punchline backup   16 bytes
//! format             4, as are the next three; numbers are big-endian
//! memory             KiB that the derivation of the key takes
//! passes             over it
//! lanes
//! salt               16, drawn at random
//! check              16, derived beside the key: a wrong passphrase is told from damage
//! digest             8, the beginning of SHA-256 of all before
//! chunks             64 KiB each and the last one shorter or as long, every one sealed (16 bytes more)
//! ```
//!
//! The key is Argon2id's (RFC 9106) and belongs to this file alone, because the salt does. A chunk is sealed with
//! ChaCha20-Poly1305 (RFC 8439) under its number and whether it is the last one, so that none can be left out, moved or
//! cut off unnoticed; the header goes with each as associated data.

use std::io::{self, BufRead, Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 16] = b"punchline backup";
/// The format written.
const FORMAT: u32 = 1;
const HEADER: usize = 16 + 4 * 4 + SALT + CHECK + DIGEST;
const SALT: usize = 16;
const CHECK: usize = 16;
const DIGEST: usize = 8;
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;

/// RFC 9106's second recommendation, for machines with little memory: a tenth of a second on any of this decade's.
const COST: Cost = Cost { memory: 64 * 1024, passes: 3, lanes: 4 };
/// What a file may demand of us: whoever made it may not mean well.
const MOST: Cost = Cost { memory: 1024 * 1024, passes: 16, lanes: 16 };

#[derive(Debug, Clone, Copy)]
struct Cost {
    memory: u32,
    passes: u32,
    lanes: u32,
}

/// Why a file does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealedError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no backup of punchline")]
    Foreign,
    #[error("a newer version of punchline made it (format {0}, this one knows {FORMAT}); update punchline")]
    Newer(u32),
    #[error("the passphrase is not the one that it was made with")]
    Passphrase,
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

struct Keys {
    cipher: ChaCha20Poly1305,
    check: [u8; CHECK],
}

fn derive(passphrase: &str, salt: &[u8], cost: Cost) -> Result<Keys, SealedError> {
    let params = Params::new(cost.memory, cost.passes, cost.lanes, Some(32 + CHECK));
    let params = params.map_err(|_| SealedError::Damaged("its header makes no sense"))?;
    let mut derived = [0; 32 + CHECK];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut derived)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let (key, check) = derived.split_at(32);
    let key = Key::try_from(key).map_err(io::Error::other)?;
    let check = check.try_into().map_err(io::Error::other)?;
    Ok(Keys { cipher: ChaCha20Poly1305::new(&key), check })
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce.into()
}

fn digest(header: &[u8]) -> [u8; DIGEST] {
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&Sha256::digest(header)[..DIGEST]);
    digest
}

/// Seals what is written to it.
pub(super) struct Sealer<W> {
    out: W,
    header: Vec<u8>,
    cipher: ChaCha20Poly1305,
    number: u64,
    chunk: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    pub(super) fn new(out: W, passphrase: &str, salt: [u8; SALT]) -> Result<Self, SealedError> {
        Sealer::at_cost(out, passphrase, salt, COST)
    }

    fn at_cost(mut out: W, passphrase: &str, salt: [u8; SALT], cost: Cost) -> Result<Self, SealedError> {
        let keys = derive(passphrase, &salt, cost)?;
        let mut header = MAGIC.to_vec();
        for number in [FORMAT, cost.memory, cost.passes, cost.lanes] {
            header.extend(number.to_be_bytes());
        }
        header.extend(salt);
        header.extend(keys.check);
        header.extend(digest(&header));
        out.write_all(&header)?;
        Ok(Sealer { out, header, cipher: keys.cipher, number: 0, chunk: Vec::with_capacity(CHUNK) })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let payload = Payload { msg: &self.chunk, aad: &self.header };
        let sealed = self.cipher.encrypt(&nonce(self.number, last), payload);
        self.out.write_all(&sealed.map_err(|_| io::Error::other("a chunk could not be sealed"))?)?;
        self.number += 1;
        self.chunk.clear();
        Ok(())
    }

    /// The last chunk. Without it the file does not open.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits for the next byte: it may be the last one.
        if self.chunk.len() == CHUNK {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Opens what a [`Sealer`] wrote, and gives out no byte that is not as it was.
pub(super) struct Opener<R> {
    file: R,
    header: Vec<u8>,
    cipher: ChaCha20Poly1305,
    number: u64,
    /// What was opened and not yet asked for.
    chunk: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R: BufRead> Opener<R> {
    pub(super) fn new(mut file: R, passphrase: &str) -> Result<Self, SealedError> {
        let header = fill(&mut file, HEADER)?;
        if !header.starts_with(MAGIC) {
            return Err(SealedError::Foreign);
        }
        let number = |at: usize| {
            let bytes = header.get(16 + at * 4..20 + at * 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or(SealedError::Damaged("it ends too early"))
        };
        let format = number(0)?;
        if format > FORMAT {
            return Err(SealedError::Newer(format));
        }
        if header.len() < HEADER {
            return Err(SealedError::Damaged("it ends too early"));
        }
        let (said, expected) = header.split_at(HEADER - DIGEST);
        let cost = Cost { memory: number(1)?, passes: number(2)?, lanes: number(3)? };
        let sane = cost.memory <= MOST.memory && cost.passes <= MOST.passes && cost.lanes <= MOST.lanes;
        if digest(said) != expected || !sane || format == 0 {
            return Err(SealedError::Damaged("its header is not as it was"));
        }
        let keys = derive(passphrase, &header[32..32 + SALT], cost)?;
        if keys.check != header[32 + SALT..32 + SALT + CHECK] {
            return Err(SealedError::Passphrase);
        }
        Ok(Opener { file, header, cipher: keys.cipher, number: 0, chunk: Vec::new(), taken: 0, ended: false })
    }

    /// All bytes have been read.
    pub(super) fn at_end(&mut self) -> Result<bool, SealedError> {
        while !self.ended && self.taken == self.chunk.len() {
            self.open()?;
        }
        Ok(self.taken == self.chunk.len())
    }

    /// So many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<Vec<u8>, SealedError> {
        let mut bytes = Vec::new();
        self.copy(count as u64, &mut bytes)?;
        Ok(bytes)
    }

    /// Gives so many bytes on.
    pub(super) fn copy(&mut self, mut count: u64, to: &mut impl Write) -> Result<(), SealedError> {
        while count > 0 {
            if self.at_end()? {
                return Err(SealedError::Damaged("it ends too early"));
            }
            let there = &self.chunk[self.taken..];
            let part = &there[..there.len().min(usize::try_from(count).unwrap_or(usize::MAX))];
            to.write_all(part)?;
            self.taken += part.len();
            count -= part.len() as u64;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), SealedError> {
        let sealed = fill(&mut self.file, CHUNK + TAG)?;
        let last = self.file.fill_buf()?.is_empty();
        let open = |last| {
            let payload = Payload { msg: &sealed, aad: &self.header };
            self.cipher.decrypt(&nonce(self.number, last), payload)
        };
        self.chunk = match open(last) {
            Ok(chunk) => chunk,
            // Whole, but not the last one: the rest was cut off.
            Err(_) if last && (sealed.is_empty() || open(false).is_ok()) => {
                return Err(SealedError::Damaged("it ends too early"));
            }
            Err(_) => return Err(SealedError::Damaged("a part of it is not as it was")),
        };
        self.taken = 0;
        self.ended = last;
        self.number += 1;
        Ok(())
    }
}

/// So many bytes, or as many as there are.
fn fill(file: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
    file.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: &[u8]) -> Vec<u8> {
        let cheap = Cost { memory: 64, passes: 1, lanes: 1 };
        let mut sealer = Sealer::at_cost(Vec::new(), "correct horse", [7; SALT], cheap).expect("a key");
        sealer.write_all(bytes).expect("sealed");
        sealer.finish().expect("sealed")
    }

    fn opened(file: &[u8], passphrase: &str) -> Result<Vec<u8>, SealedError> {
        let mut opener = Opener::new(file, passphrase)?;
        let mut bytes = Vec::new();
        while !opener.at_end()? {
            bytes.extend(opener.take(1)?);
        }
        Ok(bytes)
    }

    #[test]
    fn whatever_length_goes_in_comes_out() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let file = sealed(&bytes);
            assert!(opened(&file, "correct horse").expect("opened") == bytes, "{length}");
            assert!(matches!(opened(&file, "wrong horse"), Err(SealedError::Passphrase)));
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let file = sealed(&vec![1; CHUNK + 100]);
        let boundary = HEADER + CHUNK + TAG;
        for length in [0, 15, 16, 19, 20, HEADER - 1, HEADER, HEADER + 1, boundary, boundary + 1, file.len() - 1] {
            let error = opened(&file[..length], "correct horse").expect_err("refused");
            let expected = if length < 16 { "no backup" } else { "damaged" };
            assert!(error.to_string().contains(expected), "{length}: {error}");
        }
        let at_boundary = opened(&file[..boundary], "correct horse").expect_err("refused").to_string();
        assert!(at_boundary.contains("too early"), "{at_boundary}");
        let longer = [&file[..], &[0]].concat();
        assert!(matches!(opened(&longer, "correct horse"), Err(SealedError::Damaged(_))));
    }

    #[test]
    fn every_changed_byte_is_noticed_and_no_cost_is_paid_for_a_damaged_header() {
        let file = sealed(b"what was said");
        for at in 0..file.len() {
            let mut file = file.clone();
            file[at] ^= 0x40;
            let error = opened(&file, "correct horse").expect_err("refused");
            match at {
                0..16 => assert!(matches!(error, SealedError::Foreign), "{at}: {error}"),
                16..20 => assert!(matches!(error, SealedError::Newer(_)), "{at}: {error}"),
                _ => assert!(matches!(error, SealedError::Damaged(_)), "{at}: {error}"),
            }
        }
    }

    #[test]
    fn a_file_that_demands_too_much_is_refused_before_it_gets_it() {
        let mut file = sealed(b"");
        file[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
        let end = HEADER - DIGEST;
        let digest = digest(&file[..end]);
        file[end..HEADER].copy_from_slice(&digest);
        assert!(matches!(opened(&file, "correct horse"), Err(SealedError::Damaged(_))));
    }
}
