//! Names of the objects a job has, and the labels that find them. Pure.
use std::collections::BTreeMap;

use millstream_api::crd::{JOB_LABEL, REVISION_LABEL, ROLE_LABEL};

/// Who applies objects: our field manager and the value of `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "millstream-operator";
/// Who writes status: a manager of its own, so that a status never claims a field of the spec.
pub const STATUS_MANAGER: &str = "millstream-operator-status";
/// Name of the one container of our pods.
pub const CONTAINER: &str = "millstream";

/// Ports of the pods.
pub mod port {
    /// Rows between workers.
    pub const DATA: u16 = 7071;
    /// Coordinator and workers.
    pub const CONTROL: u16 = 7072;
    /// The job's API.
    pub const API: u16 = 7073;
    /// `/metrics`, `/healthz` and `/readyz`.
    pub const ADMIN: u16 = 7080;
}

/// What a pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Plans, deploys, checkpoints.
    Coordinator,
    /// Hosts tasks.
    Worker,
}

impl Role {
    /// As the label has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        }
    }

    /// The letter in names of its objects.
    const fn letter(self) -> &'static str {
        match self {
            Self::Coordinator => "c",
            Self::Worker => "w",
        }
    }
}

/// Which job.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Tells it from another job of that name, before or after.
    pub uid: String,
}

impl Identity {
    /// Service in front of the coordinator.
    pub fn coordinator_service(&self) -> String {
        format!("{}-coordinator", self.name)
    }

    /// Headless service of the workers.
    pub fn workers_service(&self) -> String {
        format!("{}-workers", self.name)
    }

    /// Secret with the key of the job's authority. Mounted nowhere.
    pub fn authority_secret(&self) -> String {
        format!("{}-ca", self.name)
    }

    /// Secret with bundle, leaves and token. Mounted in all pods.
    pub fn tls_secret(&self) -> String {
        format!("{}-tls", self.name)
    }

    /// Account of the pods, if the job names none.
    pub fn account(&self) -> String {
        self.name.clone()
    }

    /// Disruption budget of the workers.
    pub fn budget(&self) -> String {
        format!("{}-workers", self.name)
    }

    /// ControllerRevision and ConfigMap of a revision.
    pub fn revision(&self, revision: &str) -> String {
        format!("{}-{revision}", self.name)
    }

    /// Its folder in the checkpoint store.
    pub fn prefix(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.name, self.uid)
    }

    /// The pod that erases what an object with this uid had.
    pub fn clean_up(&self, uid: &str) -> String {
        format!("{}-cleanup-{}", self.name, uid.split('-').next().unwrap_or_default())
    }

    /// Deployment or StatefulSet of a revision.
    pub fn workload(&self, role: Role, revision: &str) -> String {
        format!("{}-{}-{revision}", self.name, role.letter())
    }

    /// Pod that checks a revision. `stuck` others of that name are on nodes that are gone.
    pub fn check(&self, revision: &str, stuck: usize) -> String {
        let name = format!("{}-check-{revision}", self.name);
        if stuck == 0 { name } else { format!("{name}-{stuck}") }
    }

    /// The name in a role's certificate; of the coordinator also the host of its service.
    pub fn host(&self, role: Role) -> String {
        format!("{}-{}.{}.svc", self.name, role.as_str(), self.namespace)
    }

    /// Labels that select pods of a role. They never change within a workload.
    pub fn selector(&self, role: Role) -> BTreeMap<String, String> {
        [(JOB_LABEL, self.name.as_str()), (ROLE_LABEL, role.as_str())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// Labels that select those of a revision alone.
    pub fn selector_of(&self, role: Role, revision: &str) -> BTreeMap<String, String> {
        let mut labels = self.selector(role);
        labels.insert(REVISION_LABEL.into(), revision.into());
        labels
    }

    /// Those of all revisions as text, for the scale sub-resource.
    pub fn selector_text(&self, role: Role) -> String {
        format!("{JOB_LABEL}={},{ROLE_LABEL}={}", self.name, role.as_str())
    }

    /// Labels of an object; `role` and `revision` where it has them.
    pub fn labels(&self, role: Option<Role>, revision: Option<&str>) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = [
            ("app.kubernetes.io/name", "millstream"),
            ("app.kubernetes.io/instance", self.name.as_str()),
            ("app.kubernetes.io/part-of", "millstream"),
            ("app.kubernetes.io/managed-by", MANAGER),
            (JOB_LABEL, self.name.as_str()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        if let Some(role) = role {
            labels.insert("app.kubernetes.io/component".into(), role.as_str().into());
            labels.insert(ROLE_LABEL.into(), role.as_str().into());
        }
        if let Some(revision) = revision {
            labels.insert(REVISION_LABEL.into(), revision.into());
        }
        labels
    }
}

/// Number of a worker by its name: that of a pod (`orders-w-5f7c9-3`) or of a local process (`w3`).
pub fn ordinal(worker: &str) -> Option<u32> {
    let digits = worker.rsplit_once('-').map(|(_, digits)| digits).or_else(|| worker.strip_prefix('w'))?;
    // A sign would be read as well.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_fit_where_kubernetes_puts_them() {
        let job = Identity { namespace: "n".repeat(63), name: "j".repeat(40), uid: "u".into() };
        for name in [
            job.coordinator_service(),
            job.workers_service(),
            job.check("5f7c9", 9),
            job.clean_up("6a1f3f0e-0c5b-4a53-9a53-2f0a6f4e2b11"),
            // A pod of a StatefulSet has an ordinal, and its controller adds a hash of 10 to a label of 63.
            format!("{}-32767", job.workload(Role::Worker, "5f7c9")),
            format!("{}-1234567890", job.workload(Role::Worker, "5f7c9")),
            // A pod of a Deployment has two hashes.
            format!("{}-1234567890", job.workload(Role::Coordinator, "5f7c9")),
        ] {
            assert!(name.len() <= 63, "{name} has {}", name.len());
        }
    }

    #[test]
    fn workers_are_numbered_on_both_platforms() {
        for (name, number) in
            [("w0", Some(0)), ("orders-w-5f7c9-12", Some(12)), ("orders-w-5f7c9", None), ("17", None), ("", None)]
        {
            assert_eq!(ordinal(name), number, "{name}");
        }
    }
}
