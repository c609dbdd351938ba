//! What is there: the job, its objects and pods out of the cache, and what its coordinator says. Nothing is changed here.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};
use millstream_api::crd::{REVISION_LABEL, StreamJob};
use millstream_api::wire::{Expect, JobStatus, RescaleStatus, StageStatus};

use super::Error;
use super::reference::{self, References};
use crate::cache::Kind;
use crate::client::{Client, Secure};
use crate::clock::now_ms;
use crate::context::{Context, Memory};
use crate::credential;
use crate::diagnose::{self, Trouble};
use crate::name::{Identity, Role};
use crate::revision::Revision;

/// A ConfigMap with SQL text is looked at this often: it is read by name, since watching all maps of a cluster costs too much.
const SQL_AGE_MS: i64 = 30_000;
/// Credentials are read again this often, in case someone removed them.
pub(super) const TLS_AGE_MS: i64 = 600_000;
/// Refused pods are looked for this often, while pods are missing.
const REFUSALS_AGE_MS: i64 = 5_000;

/// Everything a decision is made from.
#[derive(Debug, Clone)]
pub struct Observed {
    /// When.
    pub now_ms: i64,
    /// The job.
    pub job: Arc<StreamJob>,
    /// Its names.
    pub identity: Identity,
    /// Its SQL.
    pub sql: SqlText,
    /// Its revisions, in no order.
    pub revisions: Vec<Revision>,
    /// Its Deployments and StatefulSets.
    pub workloads: Vec<Workload>,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
    /// Pods the API server refuses.
    pub refusals: Vec<Trouble>,
    /// The API server refused a pod that was to check this revision: when, and why.
    pub refused: Option<(String, i64, Trouble)>,
    /// What its coordinator says.
    pub answer: Answer,
    /// The stages of a revision, as its coordinator said last.
    pub stages: Option<StageNames>,
    /// What its spec refers to, beside its SQL.
    pub references: References,
}

/// The names of the stages of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageNames {
    /// Of which.
    pub revision: String,
    /// In the order of the stage graph.
    pub names: Vec<String>,
}

/// Where the SQL is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlText {
    /// Here.
    Text(String),
    /// In the image.
    InImage,
    /// It should be in a ConfigMap and is not.
    Missing(String),
}

/// A Deployment or StatefulSet.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Of coordinators or workers.
    pub role: Role,
    /// Of which revision.
    pub revision: String,
    /// Pods it is told to have.
    pub replicas: u32,
    /// Pods it has.
    pub made: u32,
    /// Its controller may not know yet how many pods it is told to have, and make some that it is not.
    pub is_behind: bool,
    /// The object.
    pub object: Arc<DynamicObject>,
}

/// What a coordinator says.
#[derive(Debug, Clone, Default)]
pub enum Answer {
    /// There is none to ask.
    #[default]
    Absent,
    /// It does not answer.
    Silent {
        /// Why.
        reason: String,
        /// Since when, as this operator knows.
        since_ms: i64,
    },
    /// It answers.
    Said(Box<Said>),
}

/// A job as its coordinator knows it.
#[derive(Debug, Clone)]
pub struct Said {
    /// Revision of the coordinator.
    pub revision: String,
    /// The job.
    pub job: JobStatus,
    /// Its stages.
    pub stages: Vec<StageStatus>,
    /// Its rescales, newest first.
    pub rescales: Vec<RescaleStatus>,
}

impl Said {
    /// What a mutating call that is decided on this is decided on: it is refused if the job is not like this any more.
    pub fn expect(&self) -> Expect {
        let versions = self.stages.iter().map(|stage| (stage.name.clone(), stage.table_version));
        Expect { generation: Some(self.job.generation), table_versions: versions.collect() }
    }
}

impl Observed {
    /// What the coordinator says, if it says something.
    pub fn said(&self) -> Option<&Said> {
        match &self.answer {
            Answer::Said(said) => Some(said),
            Answer::Absent | Answer::Silent { .. } => None,
        }
    }

    /// The workload of a role of a revision.
    pub fn workload(&self, revision: &str, role: Role) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.revision == revision && workload.role == role)
    }

    /// Pods of a role of a revision that are not about to go, and not gone but for their names.
    pub fn pods_of<'a>(&'a self, revision: &'a str, role: Role) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().map(AsRef::as_ref).filter(move |pod| {
            let is_of = diagnose::revision(pod) == Some(revision) && diagnose::role(pod) == Some(role);
            is_of && !diagnose::is_going(pod) && !diagnose::is_over(pod)
        })
    }
}

/// Looks at everything.
pub async fn observe(context: &Context, job: &Arc<StreamJob>, memory: &mut Memory) -> Result<Observed, Error> {
    let identity = Identity {
        namespace: job.namespace().unwrap_or_default(),
        name: job.name_any(),
        uid: job.uid().unwrap_or_default(),
    };
    let now_ms = now_ms();
    let sql = sql(context, job, &identity, memory, now_ms).await?;
    let revisions = context.cache.revisions(&identity).into_iter().filter_map(Revision::read).collect();
    let workloads = workloads(context, &identity);
    let pods = context.cache.pods(&identity);
    let refusals = refusals(context, &identity, &workloads, memory, now_ms).await;
    let answer = ask(context, &identity, &pods, memory, now_ms).await?;
    let (refused, stages) = (memory.refused.clone(), memory.stages.clone());
    let references = reference::look(context, job, &identity, memory, now_ms).await?;
    let job = Arc::clone(job);
    Ok(Observed {
        now_ms,
        job,
        identity,
        sql,
        revisions,
        workloads,
        pods,
        refusals,
        refused,
        answer,
        stages,
        references,
    })
}

async fn sql(
    context: &Context,
    job: &StreamJob,
    identity: &Identity,
    memory: &mut Memory,
    now_ms: i64,
) -> Result<SqlText, Error> {
    let sql = &job.spec.sql;
    if let Some(text) = &sql.inline {
        return Ok(SqlText::Text(text.clone()));
    }
    let Some(reference) = &sql.config_map else { return Ok(SqlText::InImage) };
    if let Some((name, key, text, at_ms)) = &memory.sql
        && (name, key) == (&reference.name, &reference.key)
        && now_ms - at_ms < SQL_AGE_MS
    {
        return Ok(SqlText::Text(text.clone()));
    }
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), &identity.namespace);
    let map =
        api.get_opt(&reference.name).await.map_err(|source| Error::Sql { name: reference.name.clone(), source })?;
    let found = map.map(|map| map.data.unwrap_or_default().remove(&reference.key));
    Ok(match found {
        Some(Some(text)) => {
            memory.sql = Some((reference.name.clone(), reference.key.clone(), text.clone(), now_ms));
            SqlText::Text(text)
        }
        Some(None) => SqlText::Missing(format!("the ConfigMap {} has no key {}", reference.name, reference.key)),
        None => SqlText::Missing(format!("there is no ConfigMap {}", reference.name)),
    })
}

fn workloads(context: &Context, job: &Identity) -> Vec<Workload> {
    let kinds = [(Role::Coordinator, Kind::Deployment), (Role::Worker, Kind::StatefulSet)];
    let all = kinds.into_iter().flat_map(|(role, kind)| {
        context.cache.objects(job, kind).into_iter().filter_map(move |object| {
            let number = |pointer: &str| object.data.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(0);
            let count = |pointer: &str| u32::try_from(number(pointer)).unwrap_or(u32::MAX);
            Some(Workload {
                role,
                revision: object.labels().get(REVISION_LABEL)?.clone(),
                replicas: count("/spec/replicas"),
                made: count("/status/replicas"),
                is_behind: number("/status/observedGeneration") < generation(&object),
                object,
            })
        })
    });
    all.filter(|workload| workload.object.owner_references().iter().any(|owner| owner.uid == job.uid)).collect()
}

/// The generation its controller should have seen. One that has not looked at it at all has made nothing.
fn generation(object: &DynamicObject) -> u64 {
    let is_seen = object.data.pointer("/status/observedGeneration").is_some();
    let generation = object.metadata.generation.filter(|_| is_seen);
    generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or_default()
}

/// A controller tries to make a pod at least this often, so that what it was told before that does not hold any more.
const REFUSAL_LIFE_MS: i64 = 1_020_000;

/// Why pods are missing that should be there. A Deployment says so itself; of a StatefulSet only events tell.
async fn refusals(
    context: &Context,
    job: &Identity,
    workloads: &[Workload],
    memory: &mut Memory,
    now_ms: i64,
) -> Vec<Trouble> {
    let short: Vec<&Workload> = workloads.iter().filter(|workload| workload.made < workload.replicas).collect();
    if short.is_empty() {
        memory.refusals = None;
        return Vec::new();
    }
    if let Some((at_ms, found)) = &memory.refusals
        && now_ms - at_ms < REFUSALS_AGE_MS
    {
        return found.clone();
    }
    let mut found = Vec::new();
    for workload in short {
        let name = workload.object.name_any();
        let message = match workload.role {
            Role::Coordinator => replica_failure(&workload.object),
            Role::Worker => newest_failed_create(context, job, &name, now_ms).await,
        };
        found.extend(message.map(|message| diagnose::refusal(&format!("{name}: {message}"))));
    }
    memory.refusals = Some((now_ms, found.clone()));
    found
}

fn replica_failure(deployment: &DynamicObject) -> Option<String> {
    let conditions = deployment.data.pointer("/status/conditions")?.as_array()?;
    let failure =
        conditions.iter().find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")?;
    Some(failure["message"].as_str()?.to_owned())
}

async fn newest_failed_create(context: &Context, job: &Identity, name: &str, now_ms: i64) -> Option<String> {
    let api = Api::<Event>::namespaced(context.client.clone(), &job.namespace);
    let fields = format!("involvedObject.kind=StatefulSet,involvedObject.name={name},reason=FailedCreate");
    match api.list(&ListParams::default().fields(&fields)).await {
        Ok(events) => {
            let at_ms = |event: &Event| event.last_timestamp.as_ref().map(|time| time.0.as_millisecond());
            let stands = |event: &Event| at_ms(event).is_none_or(|at_ms| now_ms - at_ms < REFUSAL_LIFE_MS);
            events.items.into_iter().filter(stands).max_by_key(at_ms)?.message
        }
        Err(error) => {
            tracing::warn!(%error, name, "cannot read events");
            None
        }
    }
}

/// Asks the newest coordinator that runs. One that does not answer is an observation.
async fn ask(
    context: &Context,
    job: &Identity,
    pods: &[Arc<Pod>],
    memory: &mut Memory,
    now_ms: i64,
) -> Result<Answer, Error> {
    let coordinators =
        pods.iter().filter(|pod| diagnose::role(pod) == Some(Role::Coordinator) && !diagnose::is_going(pod));
    let running = coordinators.filter_map(|pod| {
        let status = pod.status.as_ref()?;
        let ip = status.pod_ip.as_ref()?.parse::<IpAddr>().ok()?;
        (status.phase.as_deref() == Some("Running")).then_some((pod, ip))
    });
    let newest = running.max_by_key(|(pod, _)| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let Some((pod, ip)) = newest else {
        memory.silent_since_ms = None;
        return Ok(Answer::Absent);
    };
    let client = match client(context, job, SocketAddr::new(ip, context.settings.api_port), memory, now_ms).await? {
        Some(client) => client,
        None => return Ok(Answer::Absent),
    };
    // One after the other: a connection is kept for each job, and a second one would be made, with all of TLS, for each question.
    let said = async { Ok((client.job().await?, client.stages().await?, client.rescales().await?)) }.await;
    let revision = diagnose::revision(pod).unwrap_or_default().to_owned();
    Ok(match said {
        Ok((job, stages, rescales)) => {
            memory.silent_since_ms = None;
            let names = || stages.iter().map(|stage| stage.name.clone()).collect();
            if memory.stages.as_ref().is_none_or(|known| known.revision != revision) && !stages.is_empty() {
                memory.stages = Some(StageNames { revision: revision.clone(), names: names() });
            }
            Answer::Said(Box::new(Said { revision, job, stages, rescales }))
        }
        Err(error) => {
            let error: crate::client::Error = error;
            tracing::debug!(%error, "the coordinator does not answer");
            let since_ms = *memory.silent_since_ms.get_or_insert(now_ms);
            // The next try reads the credentials again: the token may be another one.
            if error.is_unauthorized() {
                memory.tls = None;
            }
            Answer::Silent { reason: error.to_string(), since_ms }
        }
    })
}

/// The client of the job's API at this address; `None` as long as the job has no credentials.
async fn client(
    context: &Context,
    job: &Identity,
    address: SocketAddr,
    memory: &mut Memory,
    now_ms: i64,
) -> Result<Option<Arc<Client>>, Error> {
    if memory.tls.as_ref().is_none_or(|(_, at_ms)| now_ms - at_ms >= TLS_AGE_MS) {
        memory.know(credential::read(&context.client, job).await?, now_ms);
    }
    // A coordinator that runs knows what there was.
    let Some(tls) = memory.tls.as_ref().map(|(tls, _)| tls).or(memory.tls_before.as_ref()) else { return Ok(None) };
    let key = format!("{}{}", tls.token, tls.bundle);
    if let Some((at, known, client)) = &memory.client
        && (at, known) == (&address, &key)
    {
        return Ok(Some(Arc::clone(client)));
    }
    let secure =
        Secure { host: job.host(Role::Coordinator), address, authority: tls.bundle.clone(), token: tls.token.clone() };
    let client = Arc::new(Client::secure(&secure).map_err(Error::Client)?);
    memory.client = Some((address, key, Arc::clone(&client)));
    Ok(Some(client))
}
