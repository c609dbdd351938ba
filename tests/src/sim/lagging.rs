//! State in memory that is taken in and read ahead as slowly as a disk may: some steps of the task later, as the seed says.
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_api::id::KeyGroup;
use millstream_runtime::exchange::Wake;
use millstream_runtime::state::parts::{Next, Parts, Urgency, Wanted};
use millstream_runtime::state::{Arrival, Backend, Changes, Cut, Error, Operations, Snapshot, Store};

use super::doors::lock;
use super::rng::Rng;

/// How many times a task looks, on average, until one thing more is taken in.
const SLOWNESS: u64 = 4;
/// So many things wait until the task asks for all of them: a step of a task is short, and many lie between two messages.
const IN_NO_HURRY: usize = 4;
/// With as many, a task is to read no more.
const MORE_THAN_MAY_WAIT: usize = 1 << 40;

/// See the module.
pub struct Lagging<B> {
    pub inner: B,
    pub rng: Mutex<Rng>,
}

impl<B> Lagging<B> {
    fn wrap(&self, inner: Box<dyn Store>) -> Box<dyn Store> {
        let rng = Rng::new(lock(&self.rng).next());
        let (arrivals, failure, going) = (VecDeque::new(), None, None);
        Box::new(LaggingStore(Mutex::new(State { inner, rng, arrivals, failure, going })))
    }
}

impl<B: Backend> Backend for Lagging<B> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn create(&self, folder: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(self.wrap(self.inner.create(folder)?))
    }

    fn open(&self, folder: &Path, cut: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(self.wrap(self.inner.open(folder, cut)?))
    }

    fn read(&self, cut: &Path) -> Result<Box<dyn Snapshot>, Error> {
        self.inner.read(cut)
    }
}

struct LaggingStore(Mutex<State>);

struct State {
    inner: Box<dyn Store>,
    rng: Rng,
    arrivals: VecDeque<(u64, Arrival, Urgency, Arc<dyn Wake>)>,
    failure: Option<Error>,
    going: Option<Going>,
}

/// Groups on their way out, those that are kept, and who waits for it.
struct Going {
    groups: Vec<KeyGroup>,
    kept: Vec<KeyGroup>,
    wake: Arc<dyn Wake>,
}

impl State {
    /// Takes one thing in, perhaps. While more waits, the task is woken again and again.
    fn go_on(&mut self) {
        if self.rng.one_in(SLOWNESS)
            && let Some((from, arrival, urgency, wake)) = self.arrivals.pop_front()
        {
            self.failure = self.failure.take().or(self.inner.take_in(from, arrival, urgency, &wake).err());
            wake.wake();
        }
        if let Some((.., wake)) = self.arrivals.front() {
            wake.wake();
        }
    }
}

impl LaggingStore {
    fn inner(&mut self) -> &mut dyn Store {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).inner.as_mut()
    }
}

impl Store for LaggingStore {
    fn take_in(&mut self, from: u64, arrival: Arrival, urgency: Urgency, wake: &Arc<dyn Wake>) -> Result<(), Error> {
        lock(&self.0).arrivals.push_back((from, arrival, urgency, Arc::clone(wake)));
        Ok(())
    }

    fn waiting_bytes(&self) -> usize {
        let mut state = lock(&self.0);
        if state.arrivals.len() < IN_NO_HURRY {
            return 0;
        }
        state.go_on();
        MORE_THAN_MAY_WAIT
    }

    fn settle(&mut self) -> Result<bool, Error> {
        let mut state = lock(&self.0);
        state.go_on();
        match state.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(state.arrivals.is_empty() && state.inner.settle()?),
        }
    }

    fn forsake(&mut self) {
        let mut state = lock(&self.0);
        state.arrivals.clear();
        state.inner.forsake();
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, Error> {
        let mut state = lock(&self.0);
        let rng = Rng::new(state.rng.next());
        Ok(Box::new(LaggingSnapshot { inner: state.inner.snapshot()?, rng }))
    }

    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.inner().multi_get(keys)
    }

    fn write(&mut self, changes: Changes) -> Result<(), Error> {
        self.inner().write(changes)
    }

    fn scan(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.inner().scan(from, to, visit)
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        self.inner().delete_range(from, to)
    }

    fn cut(&mut self, folder: &Path) -> Result<Cut, Error> {
        self.inner().cut(folder)
    }

    fn track(&mut self, group: KeyGroup) -> Result<(), Error> {
        self.inner().track(group)
    }

    fn take_changed_keys(&mut self, group: KeyGroup) -> Result<Vec<Vec<u8>>, Error> {
        self.inner().take_changed_keys(group)
    }

    fn drop_groups(&mut self, groups: &[KeyGroup]) -> Result<(), Error> {
        self.inner().drop_groups(groups)
    }

    fn let_go(&mut self, groups: &[KeyGroup], kept: &[KeyGroup], wake: &Arc<dyn Wake>) -> Result<(), Error> {
        let (groups, kept) = (groups.to_vec(), kept.to_vec());
        lock(&self.0).going = Some(Going { groups, kept, wake: Arc::clone(wake) });
        wake.wake();
        Ok(())
    }

    fn has_let_go(&mut self) -> Result<bool, Error> {
        let mut state = lock(&self.0);
        if state.rng.one_in(SLOWNESS)
            && let Some(Going { groups, kept, wake }) = state.going.take()
        {
            state.inner.let_go(&groups, &kept, &wake)?;
        }
        if let Some(going) = &state.going {
            going.wake.wake();
            return Ok(false);
        }
        state.inner.has_let_go()
    }

    fn group_bytes(&mut self, group: KeyGroup) -> Result<u64, Error> {
        self.inner().group_bytes(group)
    }

    fn bytes(&self) -> u64 {
        lock(&self.0).inner.bytes()
    }

    fn operations(&self) -> Operations {
        lock(&self.0).inner.operations()
    }
}

struct LaggingSnapshot {
    inner: Box<dyn Snapshot>,
    rng: Rng,
}

impl Snapshot for LaggingSnapshot {
    fn export(
        &self,
        group: KeyGroup,
        from: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.inner.export(group, from, visit)
    }

    fn into_parts(self: Box<Self>, wanted: Wanted, wake: Arc<dyn Wake>) -> Result<Box<dyn Parts>, Error> {
        let inner = self.inner.into_parts(wanted, Arc::clone(&wake))?;
        Ok(Box::new(LaggingParts { inner, rng: self.rng, wake }))
    }
}

struct LaggingParts {
    inner: Box<dyn Parts>,
    rng: Rng,
    wake: Arc<dyn Wake>,
}

impl Parts for LaggingParts {
    fn next(&mut self) -> Result<Next, Error> {
        if self.rng.one_in(2) {
            self.wake.wake();
            return Ok(Next::Later);
        }
        self.inner.next()
    }
}
