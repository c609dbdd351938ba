//! Conditions: what holds of a job and why.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{ConditionType, Reason};

/// Longest message of a condition: an error of a chain of systems can be of any length.
const MESSAGE_MAX: usize = 4096;

/// What is observed of one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What it is about.
    pub kind: ConditionType,
    /// Whether it holds; `None`: nobody knows.
    pub holds: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// In words for a person.
    pub message: String,
}

impl Observation {
    /// As a condition of the status. Its time moves only when its status does, compared with the one `before`.
    pub fn condition(self, generation: Option<i64>, before: &[Condition], now: &Time) -> Condition {
        let status = match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = find(before, self.kind).filter(|condition| condition.status == status);
        Condition {
            type_: self.kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message.chars().take(MESSAGE_MAX).collect(),
            observed_generation: generation,
            last_transition_time: same.map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone()),
        }
    }
}

/// The condition of a type.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}
