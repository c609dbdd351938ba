//! Whom a client of a job's API trusts: the job's authority, and nobody else.
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// One for all clients: there is one for each job.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Why there is nobody to trust.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not PEM.
    #[error("it is no certificate")]
    Pem(#[from] pem::Error),
    /// Not a certificate, or none that this can be done with.
    #[error("the certificate cannot be used")]
    Certificate(#[from] rustls::Error),
}

/// Trusts these certificates, PEM, alone. Sessions are never resumed, as everywhere between the processes of a job, so there is no
/// memory for any: by default it is made for hundreds, a hundred KiB for each client.
pub fn only(authority: &str) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err(Error::Pem(pem::Error::NoItemsFound));
    }
    let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_none_says_so() {
        assert!(matches!(only("nothing"), Err(Error::Pem(_))));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(only(broken), Err(Error::Certificate(_))));
    }
}
