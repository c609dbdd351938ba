//! Events: what `kubectl describe` shows of what was done to a job, and why.
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::name::MANAGER;

/// Most bytes a note can have.
const NOTE_MAX: usize = 1000;

/// What happened. These are the reasons of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Happened {
    /// Objects of a revision were made.
    RevisionCreated,
    /// All tasks run.
    Running,
    /// They did, and do not any more.
    NotReady,
    /// A spec is not taken.
    Rejected,
    /// A worker or the coordinator failed.
    PodFailed,
    /// Other parallelisms were asked for.
    RescaleStarted,
    /// They are reached.
    RescaleFinished,
    /// They are not.
    RescaleFailed,
    /// A key group has more load than a task should have, which no owner table spreads.
    HotKeyGroup,
    /// The autoscaler would act, if it might.
    ScalingAdvised,
    /// The autoscaler acts.
    ScalingDecided,
    /// Somebody asked for a parallelism that the autoscaler decides about.
    WriteIgnored,
    /// The job is stopped with a savepoint.
    Suspending,
    /// A pod checks another version.
    Checking,
    /// The check cannot come to an end.
    CheckDelayed,
    /// Another version takes over.
    Redeploying,
    /// It did not become healthy; the last good one comes back.
    RollingBack,
    /// The input has ended and all is committed.
    Completed,
    /// New certificates.
    CertificatesRenewed,
    /// Somebody has removed them, with the token that the pods know.
    CredentialsLost,
    /// An object was changed by someone else, again and again.
    Contested,
    /// Another installation looks after this job.
    ForeignOperator,
    /// A savepoint was taken for a snapshot.
    SavepointTaken,
    /// There is none.
    SavepointFailed,
    /// The files of a job or savepoint were removed.
    Erased,
    /// They were not, and somebody has to.
    NotErased,
    /// The operator itself failed.
    ReconcileFailed,
}

impl Happened {
    /// The event's reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RevisionCreated => "RevisionCreated",
            Self::Running => "Running",
            Self::NotReady => "NotReady",
            Self::Rejected => "Rejected",
            Self::PodFailed => "PodFailed",
            Self::RescaleStarted => "RescaleStarted",
            Self::RescaleFinished => "RescaleFinished",
            Self::RescaleFailed => "RescaleFailed",
            Self::HotKeyGroup => "HotKeyGroup",
            Self::ScalingAdvised => "ScalingAdvised",
            Self::ScalingDecided => "ScalingDecided",
            Self::WriteIgnored => "WriteIgnored",
            Self::Suspending => "Suspending",
            Self::Checking => "Checking",
            Self::CheckDelayed => "CheckDelayed",
            Self::Redeploying => "Redeploying",
            Self::RollingBack => "RollingBack",
            Self::Completed => "Completed",
            Self::CertificatesRenewed => "CertificatesRenewed",
            Self::CredentialsLost => "CredentialsLost",
            Self::Contested => "Contested",
            Self::ForeignOperator => "ForeignOperator",
            Self::SavepointTaken => "SavepointTaken",
            Self::SavepointFailed => "SavepointFailed",
            Self::Erased => "Erased",
            Self::NotErased => "NotErased",
            Self::ReconcileFailed => "ReconcileFailed",
        }
    }

    /// Whether somebody should look.
    const fn is_warning(self) -> bool {
        matches!(
            self,
            Self::NotReady
                | Self::Rejected
                | Self::CheckDelayed
                | Self::RollingBack
                | Self::PodFailed
                | Self::CredentialsLost
                | Self::RescaleFailed
                | Self::HotKeyGroup
                | Self::Contested
                | Self::ForeignOperator
                | Self::SavepointFailed
                | Self::NotErased
                | Self::ReconcileFailed
        )
    }
}

/// One event about a job or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct News {
    /// What happened.
    pub happened: Happened,
    /// In words.
    pub note: String,
}

impl News {
    /// It happened.
    pub fn new(happened: Happened, note: impl Into<String>) -> Self {
        Self { happened, note: note.into() }
    }
}

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events by this instance of the operator.
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, reporter: Reporter { controller: MANAGER.into(), instance: Some(instance) } }
    }

    /// Publishes one. An event that cannot be published is no reason to leave a job alone.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, about: &K, news: &News) {
        let event = Event {
            type_: if news.happened.is_warning() { EventType::Warning } else { EventType::Normal },
            reason: news.happened.as_str().to_owned(),
            note: Some(shorten(&news.note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let regarding: ObjectReference = about.object_ref(&());
        // A recorder that remembers would count this as one more of those with the same reason, and drop what it says.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, &regarding).await {
            tracing::warn!(%error, reason = event.reason, "cannot publish an event");
        }
    }
}

fn shorten(note: &str) -> String {
    if note.len() <= NOTE_MAX {
        return note.to_owned();
    }
    let end = note.char_indices().map(|(at, _)| at).take_while(|at| *at <= NOTE_MAX - 3).last().unwrap_or_default();
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_fit_what_an_event_can_hold() {
        assert_eq!(shorten("short"), "short");
        let long = "ä".repeat(900);
        let short = shorten(&long);
        assert!(short.len() <= 1000 && short.ends_with('…'), "{}", short.len());
    }
}
