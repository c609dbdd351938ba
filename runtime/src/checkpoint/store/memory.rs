//! A store in memory, for simulation: clones share the objects, and a hook decides which calls fail.
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{CheckpointStore, Error, Object};

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `put` or `put_file`.
    Put,
    /// `put_if_absent`.
    PutIfAbsent,
    /// `get` or `get_file`.
    Get,
    /// `list`.
    List,
    /// `delete`.
    Delete,
}

/// A call, as the hook sees it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What it does.
    pub operation: Operation,
    /// To which path.
    pub path: &'a str,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing happens.
    Before,
    /// It has its effect, and the answer is lost.
    After,
}

/// Decides whether a call fails.
pub type Fault = Arc<dyn Fn(Call<'_>) -> Option<Failure> + Send + Sync>;

/// Objects in memory.
#[derive(Clone, Default)]
pub struct MemoryCheckpoints {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    objects: BTreeMap<String, Bytes>,
    fault: Option<Fault>,
}

impl MemoryCheckpoints {
    /// Sets or clears the hook, for all clones.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared().fault = fault;
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T>(
        &self,
        operation: Operation,
        path: &str,
        effect: impl FnOnce(&mut BTreeMap<String, Bytes>) -> T,
    ) -> Result<T, Error> {
        // The hook runs unlocked, so that it may look at the store.
        let fault = self.shared().fault.clone();
        let failure = fault.and_then(|fault| fault(Call { operation, path }));
        let failed = |what: &'static str| Error {
            attempt: match operation {
                Operation::Put => "write",
                Operation::PutIfAbsent => "create",
                Operation::Get => "read",
                Operation::List => "list",
                Operation::Delete => "delete",
            },
            path: path.to_owned(),
            transient: true,
            source: what.into(),
        };
        if failure == Some(Failure::Before) {
            return Err(failed("injected: nothing was done"));
        }
        let answer = effect(&mut self.shared().objects);
        if failure.is_some() { Err(failed("injected: the answer was lost")) } else { Ok(answer) }
    }
}

impl CheckpointStore for MemoryCheckpoints {
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        self.call(Operation::Put, path, |objects| drop(objects.insert(path.to_owned(), bytes)))
    }

    fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<bool, Error> {
        self.call(Operation::PutIfAbsent, path, |objects| {
            let absent = !objects.contains_key(path);
            if absent {
                objects.insert(path.to_owned(), bytes);
            }
            absent
        })
    }

    fn get(&self, path: &str) -> Result<Option<Bytes>, Error> {
        self.call(Operation::Get, path, |objects| objects.get(path).cloned())
    }

    fn put_file(&self, path: &str, from: &mut dyn Read) -> Result<(), Error> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(|error| Error::local("read the file to upload as", path, error))?;
        self.put(path, bytes.into())
    }

    fn get_file(&self, path: &str, to: &mut dyn Write) -> Result<bool, Error> {
        let Some(bytes) = self.get(path)? else { return Ok(false) };
        to.write_all(&bytes).map_err(|error| Error::local("write the download of", path, error))?;
        Ok(true)
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, Error> {
        let below = format!("{folder}/");
        self.call(Operation::List, folder, |objects| {
            let found = objects.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
            found.map(|(path, bytes)| Object { path: path.clone(), bytes: bytes.len() as u64 }).collect()
        })
    }

    fn delete(&self, path: &str) -> Result<(), Error> {
        self.call(Operation::Delete, path, |objects| drop(objects.remove(path)))
    }
}
