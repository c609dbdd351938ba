//! A pod that erases what no coordinator can: with the store, the image and the account of the job, and what `restricted` asks for.
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use millstream_api::job::Spec;

use super::{Source, overlay, owner, pod};
use crate::name::{CONTAINER, Identity};

/// It is not tried longer than this: who waits for it gives up after five minutes.
const DEADLINE_SECONDS: i64 = 240;
/// From TERM to KILL. It can be ended anywhere.
const GRACE_SECONDS: i64 = 5;

/// What is to be erased.
#[derive(Debug, Clone)]
pub struct CleanUp<'a> {
    /// Of which job.
    pub job: &'a Identity,
    /// Uid of what goes: the job or a snapshot.
    pub of: &'a str,
    /// The job's spec, for its store and what pods need to reach that.
    pub spec: &'a Spec,
    /// Image of the pod.
    pub image: &'a str,
    /// Its account; none: the namespace's own.
    pub account: Option<String>,
    /// Whether it belongs to the job.
    pub is_owned: bool,
    /// The savepoint that goes; none: all that the job has,
    pub savepoint: Option<&'a str>,
    /// but for these savepoints.
    pub keep: &'a [String],
}

/// The pod. What a user's template breaks is left out: this pod is the last one.
pub fn pod(of: &CleanUp<'_>) -> Pod {
    let source = Source { job: of.job, spec: of.spec, revision: "", image: of.image };
    let mut labels = of.job.labels(None, None);
    labels.insert("app.kubernetes.io/component".into(), "cleanup".into());
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            containers: vec![container(of)],
            volumes: Some(pod::shared_volumes(source)),
            service_account_name: of.account.clone(),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: pod::pull_secrets(source),
            security_context: Some(pod::pod_security()),
            restart_policy: Some("OnFailure".into()),
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            tolerations: Some(pod::tolerations()),
            ..PodSpec::default()
        }),
    };
    let ours = template.clone();
    let PodTemplateSpec { metadata, spec } = match &of.spec.coordinator.pod_template {
        Some(user) => overlay::merge(template, user, "spec.coordinator.podTemplate").unwrap_or(ours),
        None => ours,
    };
    let mut metadata = metadata.unwrap_or_default();
    metadata.name = Some(of.job.clean_up(of.of));
    metadata.namespace = Some(of.job.namespace.clone());
    metadata.owner_references = of.is_owned.then(|| vec![owner(of.job)]);
    Pod { metadata, spec, ..Pod::default() }
}

fn container(of: &CleanUp<'_>) -> Container {
    let store = of.spec.store.clone().unwrap_or_default();
    let uri = store.uri.unwrap_or_else(|| pod::STORE.to_owned());
    let mut args = vec!["erase".to_owned(), "--store".into(), uri, "--prefix".into(), of.job.prefix()];
    let more = [("--endpoint", store.endpoint), ("--region", store.region)].into_iter();
    let more = more.filter_map(|(name, value)| Some((name, value?)));
    let kept = of.keep.iter().map(|path| ("--keep", path.clone()));
    let savepoint = of.savepoint.map(|path| ("--savepoint", path.to_owned()));
    args.extend(more.chain(kept).chain(savepoint).flat_map(|(name, value)| [name.to_owned(), value]));
    let source = Source { job: of.job, spec: of.spec, revision: "", image: of.image };
    Container {
        name: CONTAINER.into(),
        image: Some(of.image.to_owned()),
        image_pull_policy: Some(format!("{:?}", of.spec.image_pull_policy)),
        args: Some(args),
        env: Some(pod::credentials(of.spec)),
        resources: Some(pod::resources(&of.spec.coordinator.resources, "50m", 64 << 20)),
        security_context: Some(pod::container_security()),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(pod::shared_mounts(source)),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use millstream_api::job::Store;
    use serde_json::{Value, json};

    use super::*;

    fn made(spec: &Spec, keep: &[String], savepoint: Option<&str>) -> Value {
        let job = Identity { namespace: "team".into(), name: "orders".into(), uid: "6a1f3f0e-0c5b".into() };
        let account = Some("orders".into());
        let of = CleanUp { job: &job, of: &job.uid, spec, image: "m:1", account, is_owned: true, savepoint, keep };
        serde_json::to_value(pod(&of)).unwrap()
    }

    #[test]
    fn it_has_the_store_of_the_job_and_no_token() {
        let store = Store {
            uri: Some("s3://b/jobs".into()),
            endpoint: Some("http://s3:9000".into()),
            credentials_secret_name: Some("s3".into()),
            ..Store::default()
        };
        let made = made(&Spec { store: Some(store), ..Spec::default() }, &["p/1".into()], None);
        assert_eq!(made["metadata"]["name"], "orders-cleanup-6a1f3f0e");
        let container = &made["spec"]["containers"][0];
        let args = "erase --store s3://b/jobs --prefix team/orders/6a1f3f0e-0c5b --endpoint http://s3:9000 --keep p/1";
        assert_eq!(container["args"], json!(args.split(' ').collect::<Vec<_>>()));
        assert_eq!(container["env"][0]["valueFrom"]["secretKeyRef"]["name"], "s3");
        assert_eq!(made["spec"]["automountServiceAccountToken"], false);
        assert_eq!(made["spec"]["securityContext"]["runAsNonRoot"], true);
    }

    #[test]
    fn it_mounts_a_claim_and_what_the_coordinator_was_given() {
        let mut spec =
            Spec { store: Some(Store { claim_name: Some("shared".into()), ..Store::default() }), ..Spec::default() };
        spec.coordinator.pod_template = Some(json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
        let made = made(&spec, &[], Some("/s/team/orders/u/manifests/1-1.json"));
        assert_eq!(made["spec"]["nodeSelector"]["disk"], "ssd");
        assert_eq!(made["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "shared");
        let container = &made["spec"]["containers"][0];
        assert_eq!(container["volumeMounts"][0]["mountPath"], container["args"][2]);
        assert_eq!(container["args"][5], "--savepoint");
    }
}
