//! The production store, over the `object_store` crate: a local folder, or a bucket of an S3-compatible server.
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Handle;

use super::{CheckpointStore, Error, Object};

/// Files larger than this are uploaded in parts of this size.
const PART_BYTES: usize = 8 << 20;

/// An object store. Must not be called from async code: it blocks the thread until the runtime has done the call.
#[derive(Clone)]
pub struct ObjectCheckpoints {
    inner: Arc<dyn ObjectStore>,
    runtime: Handle,
    /// The same store, if its objects are files of this machine.
    folder: Option<LocalFileSystem>,
}

impl ObjectCheckpoints {
    /// Any object store; its I/O runs on `runtime`.
    pub fn new(inner: Arc<dyn ObjectStore>, runtime: Handle) -> Self {
        Self { inner, runtime, folder: None }
    }

    /// A local folder, made if it is not there.
    pub fn local(root: &Path, runtime: Handle) -> Result<Self, Error> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error {
            attempt: "use as checkpoint folder",
            path: root.display().to_string(),
            transient: false,
            source,
        };
        std::fs::create_dir_all(root).map_err(|error| failed(error.into()))?;
        let folder = LocalFileSystem::new_with_prefix(root).map_err(|error| failed(error.into()))?;
        let folder = folder.with_automatic_cleanup(true);
        Ok(Self { inner: Arc::new(folder.clone()), runtime, folder: Some(folder) })
    }

    /// The file that an object is.
    fn file(&self, path: &str) -> Option<PathBuf> {
        let at = ObjectPath::parse(path).ok()?;
        self.folder.as_ref()?.path_to_filesystem(&at).ok()
    }
}

/// What precedes the status in the crate's own text, whose type it keeps to itself.
const STATUS: &str = "status code: ";

/// The HTTP status a server refused with.
fn status(error: &dyn std::error::Error) -> Option<u16> {
    let text = error.to_string();
    let digits = text.get(text.find(STATUS)? + STATUS.len()..)?.get(..3)?;
    digits.parse().ok()
}

/// Whether trying again can help. What a server refuses for its content or its credentials stays refused.
fn is_transient(error: &object_store::Error) -> bool {
    match error {
        object_store::Error::Generic { source, .. } => {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
            while let Some(error) = cause {
                if let Some(status) = status(error) {
                    return status >= 500 || matches!(status, 408 | 409 | 429);
                }
                if let Some(error) = error.downcast_ref::<std::io::Error>() {
                    use ErrorKind::{IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
                    return !matches!(
                        error.kind(),
                        IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem
                    );
                }
                cause = error.source();
            }
            true
        }
        object_store::Error::JoinError { .. } => true,
        _ => false,
    }
}

/// Whether there is no such object; a bucket that is not there is something else.
fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { source, .. } if !source.to_string().contains("NoSuchBucket"))
}

fn failed(attempt: &'static str, path: &str) -> impl FnOnce(object_store::Error) -> Error {
    let path = path.to_owned();
    move |error| Error { attempt, path, transient: is_transient(&error), source: Box::new(error) }
}

fn location(attempt: &'static str, path: &str) -> Result<ObjectPath, Error> {
    ObjectPath::parse(path).map_err(|error| failed(attempt, path)(error.into()))
}

/// Fills the buffer as far as the reader goes.
fn read_part(from: &mut dyn Read) -> std::io::Result<Vec<u8>> {
    let mut part = Vec::new();
    from.take(PART_BYTES as u64).read_to_end(&mut part)?;
    Ok(part)
}

impl ObjectCheckpoints {
    /// S3 also says "exists" of a write that met another one, after which there may be none: then somebody must try again.
    fn is_there(&self, at: &ObjectPath, path: &str) -> Result<bool, Error> {
        match self.runtime.block_on(self.inner.head(at)) {
            Ok(_) => Ok(false),
            Err(object_store::Error::NotFound { source, .. }) => {
                Err(Error { attempt: "create", path: path.to_owned(), transient: true, source })
            }
            Err(error) => Err(failed("create", path)(error)),
        }
    }
}

impl CheckpointStore for ObjectCheckpoints {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        let at = location("write", path)?;
        self.runtime.block_on(self.inner.put(&at, bytes.into())).map_err(failed("write", path))?;
        Ok(())
    }

    fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<bool, Error> {
        let at = location("create", path)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.runtime.block_on(self.inner.put_opts(&at, bytes.into(), options)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => self.is_there(&at, path),
            Err(error) => Err(failed("create", path)(error)),
        }
    }

    fn get(&self, path: &str) -> Result<Option<Bytes>, Error> {
        let at = location("read", path)?;
        let read = async { self.inner.get(&at).await?.bytes().await };
        match self.runtime.block_on(read) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed("read", path)(error)),
        }
    }

    fn put_file(&self, path: &str, from: &mut dyn Read) -> Result<(), Error> {
        let local = |error| Error::local("read the file to upload as", path, error);
        let first = read_part(from).map_err(local)?;
        if first.len() < PART_BYTES {
            return self.put(path, first.into());
        }
        let at = location("upload", path)?;
        let mut upload = self.runtime.block_on(self.inner.put_multipart(&at)).map_err(failed("upload", path))?;
        let mut part = first;
        let outcome = loop {
            if part.is_empty() {
                break self.runtime.block_on(upload.complete()).map(|_| ()).map_err(failed("upload", path));
            }
            if let Err(error) = self.runtime.block_on(upload.put_part(PutPayload::from(part))) {
                break Err(failed("upload", path)(error));
            }
            match read_part(from) {
                Ok(next) => part = next,
                Err(error) => break Err(local(error)),
            }
        };
        if outcome.is_err() {
            // Parts that stay behind are only space; the store's own rules for unfinished uploads get them.
            let _ = self.runtime.block_on(upload.abort());
        }
        outcome
    }

    fn get_file(&self, path: &str, to: &mut dyn Write) -> Result<bool, Error> {
        let at = location("download", path)?;
        let found = match self.runtime.block_on(self.inner.get(&at)) {
            Ok(found) => found,
            Err(error) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(failed("download", path)(error)),
        };
        let mut parts = found.into_stream();
        while let Some(part) = self.runtime.block_on(parts.next()) {
            let part = part.map_err(failed("download", path))?;
            to.write_all(&part).map_err(|error| Error::local("write the download of", path, error))?;
        }
        Ok(true)
    }

    fn link_in(&self, path: &str, file: &Path) -> bool {
        let Some(object) = self.file(path) else { return false };
        object.parent().is_some_and(|folder| std::fs::create_dir_all(folder).is_ok())
            && std::fs::hard_link(file, object).is_ok()
    }

    fn link_out(&self, path: &str, to: &Path) -> bool {
        self.file(path).is_some_and(|object| std::fs::hard_link(object, to).is_ok())
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, Error> {
        let at = location("list", folder)?;
        let listed = self.inner.list(Some(&at)).map_ok(|meta| Object { path: meta.location.into(), bytes: meta.size });
        let listed: Result<Vec<_>, _> = self.runtime.block_on(listed.try_collect());
        let mut objects = listed.map_err(failed("list", folder))?;
        objects.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(objects)
    }

    fn delete(&self, path: &str) -> Result<(), Error> {
        let at = location("delete", path)?;
        match self.runtime.block_on(self.inner.delete(&at)) {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(failed("delete", path)(error)),
        }
    }
}
