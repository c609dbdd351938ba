//! What a coordinator is about to do, when what is under way allows it.
use super::Leaves;

/// What a person or the autoscaler wants, until it is done.
#[derive(Debug)]
pub(in crate::coordinator) enum Intent {
    Rescale {
        to: Vec<u32>,
    },
    Stop(Leaves),
    /// Workers drain: a checkpoint, then on without them.
    Leave,
    /// This coordinator is to end: nothing new begins.
    Retire,
}
