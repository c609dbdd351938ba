//! What coordinator and workers say to each other while tasks come, go, and hand units over in a running generation.
use std::collections::BTreeMap;

use millstream_api::id::{TableVersion, TaskId};
use millstream_api::owner::OwnerTable;
use serde::{Deserialize, Serialize};

use crate::rescale::plan::Move;
use crate::source::Split;
use crate::state::parts::Urgency;

/// Key groups of one stage that change their owner together: one version of its owner table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Index of the stage.
    pub stage: usize,
    /// Version of the owner table that has the moves in it.
    pub version: TableVersion,
    /// Who gives which groups to whom.
    pub moves: Vec<Move>,
    /// Whether a snapshot is sent ahead while the old owners serve.
    pub ahead: bool,
    /// State of all these groups, as far as the coordinator knows.
    pub bytes: u64,
}

impl HandOver {
    /// Whether rows wait for the state, most of it.
    pub fn urgency(&self) -> Urgency {
        if self.ahead { Urgency::Ahead } else { Urgency::Awaited }
    }
}

/// How far a worker has come with rescales: what another coordinator needs to bring one to an end that it has not begun.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Number of the last order or extension it has heard of.
    pub heard: u64,
    /// Whether a rescale has begun and is not settled.
    pub under_way: bool,
    /// Where its channels to and from tasks that joined are.
    pub links: Links,
    /// Tasks that join and are not linked.
    pub joining: Vec<TaskId>,
    /// Highest version by stage that a hand-over was named by, whatever became of it.
    pub versions: BTreeMap<usize, TableVersion>,
    /// Orders of the step under way, with their numbers, oldest first.
    pub orders: Vec<(u64, Order)>,
    /// What tasks here have done of it.
    pub steps: Vec<(TaskId, TableVersion, Step)>,
}

/// Channels to and from tasks that joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Links {
    /// All are open, and `Linked` is said.
    #[default]
    Open,
    /// There is room for them, or will be once `Extended` is said.
    Extended {
        /// Whether it is.
        said: bool,
    },
    /// They open; then `Linked` is said.
    Opening,
}

/// A split on its way to another task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MovingSplit {
    /// Its reader so far.
    pub from: TaskId,
    /// Its next reader.
    pub to: TaskId,
    /// The split with its position.
    pub split: Split,
    /// How far its event time has come; none if nothing is known.
    pub event_time_ms: Option<i64>,
}

/// Coordinator to worker, about a running generation. Each is for all workers; a worker does its part.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Receivers: these groups will come. Answered by `Awaiting`, or `Declined`, per task.
    Await(HandOver),
    /// Donors: send a snapshot ahead (`Copied`), then wait for the markers. Or `Declined`. Receivers: say when it is `Stored`.
    Copy(HandOver),
    /// The hand-over will not happen; no router has switched. No answer.
    Drop { version: TableVersion },
    /// Routers into the stage: route by this table. Donors answer `HandedOver`, receivers `Adopted`, tasks downstream `Opened`.
    Flip { stage: usize, table: OwnerTable },
    /// Source tasks: these will be given splits and do not end before, all others as always. Answered by `Awaiting` or `Declined` by these.
    Expect { stage: usize, version: TableVersion, tasks: Vec<TaskId> },
    /// Source tasks: stop reading these splits and give them to others. Answered by `Gave` per donor, or `Declined`.
    Give { stage: usize, version: TableVersion, splits: Vec<(TaskId, u32, TaskId)> },
    /// Source tasks: read these splits as well. Answered by `Adopted`, and `Opened` downstream.
    Take { version: TableVersion, splits: Vec<MovingSplit> },
    /// These tasks own nothing any more: routers send them the end, sources among them end. Answered by `TaskEnded` per task.
    Close { stage: usize, tasks: Vec<TaskId> },
    /// These tasks have ended and take part in nothing any more; workers that are not among `peers` are left.
    Remove { tasks: Vec<TaskId>, peers: Vec<String> },
    /// The rescale is over. No answer.
    Settled,
}

/// What a task has done of a hand-over.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// It holds what comes for the groups.
    Awaiting,
    /// Snapshots are sent.
    Copied { bytes: u64 },
    /// All that was sent ahead is in its store: what is left is what changes from now on.
    Stored,
    /// It has ended, or is about to.
    Declined,
    /// Everything is sent, and dropped here.
    HandedOver { bytes: u64 },
    /// Splits it no longer reads.
    Gave { splits: Vec<MovingSplit> },
    /// It owns the units; for so long rows of the groups had to wait.
    Adopted { pause_us: u64 },
    /// It has read its last row from the old owners and goes on with the new one, `from`.
    Opened { edge: u16, from: TaskId },
}

impl Progress {
    /// An order has come. The first of a step makes those of the step before needless.
    pub fn ordered(&mut self, number: u64, order: &Order) {
        self.heard = self.heard.max(number);
        let mut named = |stage: usize, version: TableVersion| {
            let highest = self.versions.entry(stage).or_default();
            *highest = version.max(*highest);
        };
        let begins = match order {
            Order::Await(order) => {
                named(order.stage, order.version);
                true
            }
            Order::Expect { stage, version, tasks } => {
                named(*stage, *version);
                !tasks.is_empty()
            }
            Order::Close { .. } => !matches!(self.orders.last(), Some((_, Order::Close { .. }))),
            Order::Drop { .. } | Order::Remove { .. } | Order::Settled => true,
            Order::Copy(_) | Order::Flip { .. } | Order::Give { .. } | Order::Take { .. } => false,
        };
        if begins {
            self.orders.clear();
            self.steps.clear();
        }
        self.under_way = !matches!(order, Order::Settled);
        // What was removed shows in the tasks.
        if !matches!(order, Order::Settled | Order::Remove { .. }) {
            self.orders.push((number, order.clone()));
        }
    }

    /// Tasks join.
    pub fn extended(&mut self, number: u64, join: Vec<TaskId>) {
        self.heard = self.heard.max(number);
        self.joining = join;
        self.under_way = true;
    }

    /// A task has done its part of a step.
    pub fn did(&mut self, task: TaskId, version: TableVersion, step: Step) {
        if !self.orders.is_empty() {
            self.steps.push((task, version, step));
        }
    }
}
