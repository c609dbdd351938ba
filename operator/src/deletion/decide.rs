//! What to do next about a job that goes, with everything it has in its store. Pure.
use millstream_api::job::DeletionPolicy;
use millstream_api::wire::{Expect, JobState};

/// After this time the job goes, whatever is left.
pub const LIMIT_MS: i64 = 300_000;
/// A coordinator that does not answer for this long, or is not there, is not waited for.
const SILENCE_MS: i64 = 10_000;

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Ms since the job was deleted.
    pub since_ms: i64,
    /// What is to become of its files.
    pub policy: DeletionPolicy,
    /// Whether it ever had pods.
    pub has_run: bool,
    /// Whether its namespace goes, too: nothing can be made in it any more.
    pub is_namespace_going: bool,
    /// Whether some of its workloads are told to have pods.
    pub is_up: bool,
    /// Uids of its coordinators' pods, those that are about to go among them.
    pub coordinators: Vec<String>,
    /// Whether any of its pods are there.
    pub has_pods: bool,
    /// What the coordinator says.
    pub answer: Answer,
    /// The pod of the coordinator that has erased everything.
    pub erased_by: Option<String>,
    /// The pod that erases it instead.
    pub clean_up: CleanUp,
}

/// What a coordinator says.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Answer {
    /// There is none to ask.
    #[default]
    Absent,
    /// It has not answered for this time.
    Silent(i64),
    /// It answers.
    Said(JobState, Expect),
}

/// Where the pod is that erases what a coordinator cannot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CleanUp {
    /// There is none.
    #[default]
    None,
    /// It is on its way.
    Running,
    /// It has erased everything.
    Succeeded,
    /// It could not.
    Failed(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing is left that it should not leave: it goes.
    LetGo,
    /// It goes, and this is why its files are still there.
    GiveUp(String),
    /// Its tasks are to end.
    Stop(Expect),
    /// Its coordinator is to erase what it has.
    Erase,
    /// Its pods are to go.
    ToZero,
    /// A pod is to erase what it has.
    Start,
    /// Something is under way.
    Wait,
}

/// Decides.
pub fn decide(facts: &Facts) -> Step {
    if facts.policy == DeletionPolicy::Retain || !facts.has_run {
        return Step::LetGo;
    }
    if facts.is_namespace_going {
        return Step::GiveUp("its namespace is being deleted, and nothing can run there any more".into());
    }
    match &facts.clean_up {
        CleanUp::Succeeded => return Step::LetGo,
        CleanUp::Failed(why) => return Step::GiveUp(why.clone()),
        _ if facts.since_ms > LIMIT_MS => {
            return Step::GiveUp(format!("they could not be erased within {} min", LIMIT_MS / 60_000));
        }
        CleanUp::Running => return Step::Wait,
        CleanUp::None => {}
    }
    if let Some(by) = &facts.erased_by
        && facts.coordinators.iter().all(|coordinator| coordinator == by)
    {
        // Only with its pods it is certain that none of them writes something again.
        return match (facts.is_up, facts.coordinators.is_empty()) {
            (true, _) => Step::ToZero,
            (false, false) => Step::Wait,
            (false, true) => Step::LetGo,
        };
    }
    match &facts.answer {
        Answer::Said(JobState::Stopping, _) => Step::Wait,
        Answer::Said(state, _) if state.is_final() => Step::Erase,
        Answer::Said(_, expect) => Step::Stop(expect.clone()),
        Answer::Silent(for_ms) if *for_ms < SILENCE_MS => Step::Wait,
        // One that just starts will answer.
        Answer::Absent if facts.is_up && !facts.coordinators.is_empty() && facts.since_ms < SILENCE_MS => Step::Wait,
        Answer::Absent | Answer::Silent(_) if facts.is_up => Step::ToZero,
        Answer::Absent | Answer::Silent(_) if facts.has_pods => Step::Wait,
        Answer::Absent | Answer::Silent(_) => Step::Start,
    }
}

#[cfg(test)]
mod tests;
