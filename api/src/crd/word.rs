//! The words of a status: types of conditions, reasons, operations and their steps. Each exists once, here.
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An enum of words that know their text and their meaning.
macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $word:ident,)+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $word,)+
        }

        impl $name {
            /// Every word.
            pub const ALL: &[Self] = &[$(Self::$word),+];

            /// As the API spells it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => stringify!($word),)+
                }
            }

            /// What it means.
            pub fn doc(self) -> &'static str {
                match self {
                    $(Self::$word => concat!($($doc),+).trim_start(),)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Words that fields of a status hold. A word that another version wrote is `Unknown`, so that its object can be read.
macro_rules! fields {
    ($($name:ident)+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Ok(Self::ALL.iter().copied().find(|word| word.as_str() == text).unwrap_or(Self::Unknown))
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            // Not an enum: an operator that is newer than the installed definition must be able to write its words.
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "maxLength": 64})
            }
        }
    )+};
}

words! {
    /// What a condition is about.
    ConditionType {
        /// The spec is valid, and what it refers to is there.
        Accepted,
        /// All tasks run.
        Ready,
        /// The parallelism is being changed.
        Rescaling,
        /// Checkpoints are completed.
        CheckpointsHealthy,
        /// The autoscaler decides about the parallelism.
        AutoscalingActive,
        /// The input has ended and everything is committed; of a snapshot: its savepoint is taken.
        Completed,
    }
}

words! {
    /// Why a condition is as it is, why a spec was rejected, and why something failed.
    Reason {
        /// The spec is valid.
        Valid,
        /// A field has a value it cannot have.
        InvalidSpec,
        /// The SQL text cannot be run.
        InvalidSql,
        /// `stages` or a setting names a stage that the SQL text does not give.
        UnknownStage,
        /// A pod template has an unknown field, overrides what is not its own, or gives pods that the API server does not take.
        InvalidPodTemplate,
        /// A ConfigMap, Secret, claim, job or snapshot that is named is not there.
        ReferenceNotFound,
        /// The volume claim of the store cannot be mounted by several nodes; use S3.
        VolumeNotShared,
        /// The state of the running version does not fit the new one, and `upgrade.dropState` does not give it up.
        StateMismatch,
        /// A pod checks the new version; the job goes on as it was.
        Checking,
        /// All tasks run at the wanted parallelism.
        Running,
        /// All tasks run, on fewer workers than wanted.
        Degraded,
        /// The first pods are coming up.
        Deploying,
        /// A failure is being overcome: the job goes on from its last checkpoint.
        Recovering,
        /// Another version takes over.
        Redeploying,
        /// The new version did not become healthy; the last good one runs.
        RolledBack,
        /// `suspend` is true.
        Suspended,
        /// The input has ended and everything is committed.
        Completed,
        /// An image cannot be pulled.
        ImagePull,
        /// No node takes a pod.
        Unschedulable,
        /// A quota of the namespace refuses a pod.
        QuotaExceeded,
        /// The Pod Security level of the namespace refuses a pod.
        PodSecurity,
        /// A container exceeded its memory limit.
        OOMKilled,
        /// A container ends again and again.
        CrashLoop,
        /// A node evicted a pod.
        Evicted,
        /// The checkpoint store does not answer, or refuses.
        StoreUnreachable,
        /// The API of the coordinator does not answer.
        CoordinatorUnreachable,
        /// There were more failures than `restart` allows.
        RestartsExhausted,
        /// The parallelism is as it should be.
        Settled,
        /// A rescale waits until its new pods are ready.
        WaitingForPods,
        /// A rescale moves key groups.
        Moving,
        /// A rescale failed; the job goes on at its size.
        RescaleFailed,
        /// The newest checkpoint is complete.
        Committed,
        /// None is complete yet.
        NoCheckpoint,
        /// The newest checkpoint failed.
        CheckpointFailed,
        /// The autoscaler decides and acts.
        Deciding,
        /// The autoscaler decides; a write to `spec.parallelism` was ignored.
        WriteIgnored,
        /// The autoscaler says what it would do, and does not do it.
        Advising,
        /// The load needs more than the bounds allow.
        AtMaximum,
        /// The task set is too young to be measured.
        WarmUp,
        /// There is nothing to measure.
        NoInformation,
        /// `autoscaling.mode` is Off.
        Disabled,
        /// The savepoint is taken.
        SavepointTaken,
        /// The savepoint was not asked for yet, or is being taken.
        SavepointPending,
        /// The savepoint failed.
        SavepointFailed,
        /// It is not known yet, or another version of the operator wrote it.
        Unknown,
    }
}

words! {
    /// What is being done to a job.
    OperationKind {
        /// Its parallelism changes.
        Rescale,
        /// Another version takes over.
        Redeploy,
        /// A savepoint is taken.
        Savepoint,
        /// It is stopped with a savepoint.
        Suspend,
        /// It goes back to a checkpoint or savepoint.
        Restore,
        /// The last good version comes back.
        Rollback,
        /// Another version of the operator wrote it.
        Unknown,
    }
}

words! {
    /// How far an operation is.
    OperationStep {
        /// A pod checks the new version before anything is stopped.
        Checking,
        /// A savepoint is being taken.
        TakingSavepoint,
        /// The pods of the old version go.
        Stopping,
        /// New pods come up.
        WaitingForPods,
        /// The plan of a rescale is being made.
        Planning,
        /// Key groups move.
        Moving,
        /// Workers that own nothing any more are released.
        Releasing,
        /// Released pods go.
        RemovingPods,
        /// The first checkpoint of the new version is awaited.
        WaitingForHealth,
        /// Another version of the operator wrote it.
        Unknown,
    }
}

words! {
    /// What became of a savepoint.
    SnapshotResult {
        /// It can be restored.
        Succeeded,
        /// There is none.
        Failed,
        /// Another version of the operator wrote it.
        Unknown,
    }
}

fields!(Reason OperationKind OperationStep SnapshotResult);

impl ConditionType {
    /// The reasons that a condition of this type can have, beside `Unknown`, which each has at first.
    pub const fn reasons(self) -> &'static [Reason] {
        use Reason::*;
        match self {
            Self::Accepted => &[
                Valid,
                InvalidSpec,
                InvalidSql,
                UnknownStage,
                InvalidPodTemplate,
                ReferenceNotFound,
                VolumeNotShared,
                StateMismatch,
                RolledBack,
                // Nobody knows yet, since the check cannot end.
                Checking,
                ImagePull,
                Unschedulable,
                QuotaExceeded,
                PodSecurity,
                StoreUnreachable,
                OOMKilled,
                CrashLoop,
                Evicted,
            ],
            Self::Ready => &[
                Running,
                Degraded,
                Deploying,
                Recovering,
                Redeploying,
                RolledBack,
                Suspended,
                Completed,
                ImagePull,
                Unschedulable,
                QuotaExceeded,
                PodSecurity,
                OOMKilled,
                CrashLoop,
                Evicted,
                StoreUnreachable,
                CoordinatorUnreachable,
                RestartsExhausted,
            ],
            Self::Rescaling => &[Settled, WaitingForPods, Unschedulable, Moving, RescaleFailed],
            Self::CheckpointsHealthy => &[Committed, NoCheckpoint, CheckpointFailed, StoreUnreachable],
            Self::AutoscalingActive => &[
                Deciding,
                WriteIgnored,
                AtMaximum,
                Unschedulable,
                Advising,
                WarmUp,
                NoInformation,
                Suspended,
                Disabled,
            ],
            Self::Completed => &[Completed, Running, SavepointTaken, SavepointPending, SavepointFailed],
        }
    }
}
