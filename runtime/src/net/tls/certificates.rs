//! The files of a job's certificates, as one secret has them: `ca.crt`, `ROLE.crt`, `ROLE.key`.
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing, or nobody may read it.
    #[error("cannot look at {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        #[source]
        /// Why.
        source: io::Error,
    },
    /// A file has no certificate or key in it.
    #[error("cannot read {}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        #[source]
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// What the files hold does not go together.
    #[error("the certificates in {} cannot be used", folder.display())]
    Mismatch {
        /// Which.
        folder: PathBuf,
        #[source]
        /// Why.
        source: rustls::Error,
    },
    /// What is expected of the other end cannot be in a certificate.
    #[error("`{0}` is no DNS name")]
    Name(String),
}

/// What the files hold.
pub(super) struct Material {
    /// Who signs the certificates of the job.
    pub roots: Arc<RootCertStore>,
    /// Who this process is.
    pub own: Arc<CertifiedKey>,
}

/// What tells one version of a file from the next.
type Stamp = [(u64, i64, i64, u64); 3];

struct Loaded {
    stamp: Stamp,
    material: Arc<Material>,
}

/// Certificates of a process, as new as their files.
pub struct Certificates {
    folder: PathBuf,
    role: &'static str,
    loaded: Mutex<Loaded>,
}

impl Certificates {
    /// Reads those of a role, `coordinator` or `worker`.
    pub fn load(folder: &Path, role: &'static str) -> Result<Self, Error> {
        let stamp = stamp(folder, role)?;
        let material = Arc::new(read(folder, role)?);
        Ok(Self { folder: folder.to_owned(), role, loaded: Mutex::new(Loaded { stamp, material }) })
    }

    /// Those that the files hold now. While they cannot be read, such as in the middle of an exchange, those before.
    pub(super) fn current(&self) -> Arc<Material> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match stamp(&self.folder, self.role) {
            Ok(now) if now == loaded.stamp => return Arc::clone(&loaded.material),
            Ok(now) => read(&self.folder, self.role).map(|material| (now, material)),
            Err(error) => Err(error),
        };
        match changed {
            Ok((stamp, material)) => {
                tracing::info!("the certificates in {} have changed", self.folder.display());
                *loaded = Loaded { stamp, material: Arc::new(material) };
            }
            Err(error) => tracing::warn!("the certificates stay as they are: {}", millstream_api::error::chain(&error)),
        }
        Arc::clone(&loaded.material)
    }
}

fn files(folder: &Path, role: &str) -> [PathBuf; 3] {
    [folder.join("ca.crt"), folder.join(format!("{role}.crt")), folder.join(format!("{role}.key"))]
}

fn stamp(folder: &Path, role: &str) -> Result<Stamp, Error> {
    let mut stamp = Stamp::default();
    for (stamp, path) in stamp.iter_mut().zip(files(folder, role)) {
        let found = std::fs::metadata(&path).map_err(|source| Error::File { path, source })?;
        *stamp = (found.ino(), found.mtime(), found.mtime_nsec(), found.len());
    }
    Ok(stamp)
}

fn read(folder: &Path, role: &str) -> Result<Material, Error> {
    let [ca, chain, key] = files(folder, role);
    let mismatch = |source| Error::Mismatch { folder: folder.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&ca)? {
        roots.add(certificate).map_err(mismatch)?;
    }
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|source| Error::Pem { path: key, source })?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Refuses a key that is not the certificate's.
    let own = CertifiedKey::from_der(certificates(&chain)?, key, &provider).map_err(mismatch)?;
    Ok(Material { roots: Arc::new(roots), own: Arc::new(own) })
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::Pem { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() { Err(failed(rustls::pki_types::pem::Error::NoItemsFound)) } else { Ok(found) }
}
