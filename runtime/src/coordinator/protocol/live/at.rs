//! Where a live rescale is.
use std::collections::BTreeSet;

use millstream_api::id::{Epoch, TaskId};

use crate::message::live::MovingSplit;
use crate::rescale::plan::Batch;

/// Someone a downstream task has yet to hear from: edge, task that took units over, the downstream task.
pub(super) type Opening = (u16, TaskId, TaskId);

/// The step it is at.
#[derive(Debug)]
pub(super) enum At {
    /// Waits until channels may be opened.
    Begin,
    Extending(BTreeSet<String>),
    Linking(BTreeSet<String>),
    /// Between two batches.
    Next,
    /// Receivers are told.
    Awaiting {
        stage: usize,
        batch: Batch,
        waiting: BTreeSet<TaskId>,
    },
    /// Donors send snapshots, which receivers store.
    Copying {
        stage: usize,
        batch: Batch,
        donors: BTreeSet<TaskId>,
        receivers: BTreeSet<TaskId>,
    },
    /// Waits until routers may switch.
    Ready {
        stage: usize,
        batch: Batch,
    },
    /// Routers switch, groups change their owner.
    Flipped {
        stage: usize,
        batch: Batch,
        donors: BTreeSet<TaskId>,
        receivers: BTreeSet<TaskId>,
        openings: BTreeSet<Opening>,
    },
    /// Waits until splits may change their reader.
    ToGive {
        stage: usize,
    },
    /// The next readers are told, so that none of them ends meanwhile.
    Expecting {
        stage: usize,
        splits: Vec<(TaskId, u32, TaskId)>,
        waiting: BTreeSet<TaskId>,
    },
    Giving {
        stage: usize,
        donors: BTreeSet<TaskId>,
        splits: Vec<MovingSplit>,
    },
    Taking {
        stage: usize,
        splits: Vec<MovingSplit>,
        receivers: BTreeSet<TaskId>,
        openings: BTreeSet<Opening>,
    },
    /// Tasks that own nothing come to their end. What they wrote and sent is covered by a checkpoint that begins afterwards.
    Closing {
        tasks: BTreeSet<TaskId>,
        shown_by: Option<Epoch>,
    },
}

impl At {
    /// The step in a word, for traces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Extending(_) => "extend",
            Self::Linking(_) => "link",
            Self::Next => "next",
            Self::Awaiting { .. } => "await",
            Self::Copying { .. } => "copy",
            Self::Ready { .. } => "ready",
            Self::Flipped { .. } => "flip",
            Self::ToGive { .. } => "ready to give",
            Self::Expecting { .. } => "expect",
            Self::Giving { .. } => "give",
            Self::Taking { .. } => "take",
            Self::Closing { .. } => "close",
        }
    }
}
