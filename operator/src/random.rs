//! The control plane's door to randomness: keys and tokens.
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

/// Bytes of a token: as hard to guess as the keys beside it.
const TOKEN_BYTES: usize = 32;

/// Why there is no randomness.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system gives none.
    #[error("cannot draw random bytes: {0}")]
    Bytes(getrandom::Error),
    /// No key pair.
    #[error("cannot generate a key pair")]
    Key(#[source] rcgen::Error),
}

/// A new key for a certificate.
pub fn key_pair() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::Key)
}

/// A new token, 64 hexadecimal digits.
pub fn token() -> Result<String, Error> {
    let mut bytes = [0u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(Error::Bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
