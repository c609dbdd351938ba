//! What the pods prove themselves with is there before they are, is renewed, and comes back if somebody removes it.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ApiResource;

use super::{Error, Hand, Sized};
use crate::credential::{self, Change};
use crate::diagnose;
use crate::event::{Happened, News};
use crate::reconcile::observe::{Answer, TLS_AGE_MS};
use crate::resource::secret::Tls;

/// While no coordinator runs, credentials are looked at this often.
const CREDENTIALS_MS: i64 = 60_000;
/// Two servers may not agree by so much when something was made.
const SKEW_MS: i64 = 5_000;
/// A pod that nobody understands has nobody to hand anything to.
const STRANGER_GRACE_SECONDS: u32 = 5;

impl Hand<'_> {
    /// Whether a workload gets pods that it did not have.
    pub(super) fn grows(&self, workloads: &[Sized]) -> bool {
        let had = |workload: &Sized| {
            let mut seen = self.observed.workloads.iter().filter(|seen| seen.role == workload.role);
            seen.find(|seen| seen.object.name_any() == workload.name).map_or(0, |seen| seen.replicas)
        };
        workloads.iter().any(|workload| workload.replicas > had(workload))
    }

    /// Looks after what the pods prove themselves with. `starts`: pods are to come.
    pub(super) async fn credentials(&mut self, starts: bool) -> Result<(), Error> {
        let now_ms = self.observed.now_ms;
        // Pods that find none hang, and only a coordinator that runs is asked with them.
        let age_max_ms = match self.observed.answer {
            _ if starts => 0,
            Answer::Absent => CREDENTIALS_MS,
            Answer::Said(_) | Answer::Silent { .. } => TLS_AGE_MS,
        };
        let is_known = |(tls, at_ms): &(Tls, i64)| now_ms - at_ms < age_max_ms && now_ms < tls.renew_at_ms;
        if self.memory.tls.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        self.may_act()?;
        let (client, job, life) = (&self.context.client, &self.observed.identity, self.context.settings.leaf_life);
        let (tls, change) = credential::ensure(client, job, self.memory.tls_before.as_ref(), now_ms, life).await?;
        self.memory.know(Some(tls), now_ms);
        if change != Change::None {
            self.applied.written += 1;
        }
        if change == Change::Renewed {
            let note = "the pods read the new certificates without a restart";
            self.applied.news.push(News::new(Happened::CertificatesRenewed, note));
        }
        Ok(())
    }

    /// Pods that are older than the token know another one and will never be understood: they begin anew.
    pub(super) async fn restart_strangers(&mut self) -> Result<(), Error> {
        let since_ms = self.memory.tls.as_ref().and_then(|(tls, _)| tls.token_since_ms);
        let is_older = |pod: &Pod| {
            let made_ms = pod.metadata.creation_timestamp.as_ref().map(|time| time.0.as_millisecond());
            made_ms.zip(since_ms).is_some_and(|(made_ms, since_ms)| made_ms + SKEW_MS < since_ms)
        };
        let pods = self.observed.pods.iter().filter(|pod| diagnose::role(pod).is_some() && !diagnose::is_going(pod));
        let strangers: Vec<Arc<Pod>> = pods.filter(|pod| is_older(pod)).cloned().collect();
        for pod in &strangers {
            let resource = ApiResource::erase::<Pod>(&());
            self.remove(&resource, &pod.name_any(), (pod.uid(), None), Some(STRANGER_GRACE_SECONDS)).await?;
        }
        if !strangers.is_empty() {
            let name = self.observed.identity.tls_secret();
            let note =
                format!("the Secret {name} was removed, and its token is lost: the pods begin anew with another");
            self.applied.news.push(News::new(Happened::CredentialsLost, note));
        }
        Ok(())
    }
}
