//! The job's own certificate authority and the leaves of its roles. Pure: keys come from the door, the time from the caller.
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// The authority outlives any job: rotating its key is not supported yet.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Life of a leaf, unless the operator is told otherwise.
pub const LEAF_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// Clocks of nodes may lag behind the operator's by this much.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key in the Secret.
    #[error("the key of the job's authority cannot be read")]
    Key(#[source] rcgen::Error),
    /// The certificate in the Secret.
    #[error("the certificate of the job's authority cannot be read")]
    Certificate(#[source] rcgen::Error),
    /// Signing.
    #[error("cannot sign the certificate of {host}")]
    Sign {
        /// For whom.
        host: String,
        /// Why.
        source: rcgen::Error,
    },
}

/// A certificate with its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// A new authority for the job `name`.
pub fn authority(name: &str, key: &KeyPair, now_ms: i64) -> Result<Pair, Error> {
    let mut params = params(&format!("{name} (Millstream job)"), now_ms, AUTHORITY_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let sign = |source| Error::Sign { host: name.to_owned(), source };
    let certificate = params.self_signed(key).map_err(sign)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A leaf for both ends of a connection, valid for `host` alone.
pub fn leaf(authority: &Pair, host: &str, key: &KeyPair, now_ms: i64, life: Duration) -> Result<Pair, Error> {
    let sign = |source| Error::Sign { host: host.to_owned(), source };
    let issuer = KeyPair::from_pem(&authority.key).map_err(Error::Key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, issuer).map_err(Error::Certificate)?;
    // 64 characters is the most a common name may have; the name that counts is the alternative one.
    let mut params = params(host.get(..host.len().min(64)).unwrap_or("millstream"), now_ms, life);
    params.subject_alt_names = CertificateParams::new(vec![host.to_owned()]).map_err(sign)?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(key, &issuer).map_err(sign)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// When a leaf issued at `issued_ms` is renewed: at two thirds of its life, so that a third is left for all that may go wrong.
pub fn renew_at_ms(issued_ms: i64, life: Duration) -> i64 {
    let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX / 4);
    issued_ms.saturating_add(life_ms / 3 * 2)
}

fn params(name: &str, now_ms: i64, life: Duration) -> CertificateParams {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(u64::try_from(now_ms).unwrap_or_default());
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (now - CLOCK_SKEW, now + life);
    params.distinguished_name = distinguished_name;
    params
}

#[cfg(test)]
mod tests;
