//! tmp
use millstream_api::id::{KeyGroup, TaskId};
use millstream_api::owner::OwnerTable;
use millstream_api::wire::Batching;
use serde::{Deserialize, Serialize};
/// m
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub from: TaskId,
    pub to: TaskId,
    pub groups: Vec<KeyGroup>,
}
/// b
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub version: u64,
    pub moves: Vec<Move>,
    pub table: OwnerTable,
    pub bytes: u64,
}
/// l
pub struct Limits {
    pub batching: Batching,
    pub budget_bytes: u64,
}
/// b
#[derive(Debug, Default)]
pub struct Budget;
impl Budget {
    pub fn bytes(&self) -> u64 {
        0
    }
    pub fn observe(&mut self, _p: u64) {}
}
pub fn next_batch(_c: &OwnerTable, _t: &OwnerTable, _b: &[u64], _l: &[f64], _m: &Limits) -> Option<Batch> {
    None
}
pub fn whole(_c: &OwnerTable, _t: &OwnerTable, _b: &[u64]) -> Option<Batch> {
    None
}
