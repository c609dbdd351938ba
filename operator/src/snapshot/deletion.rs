//! A snapshot that goes with its savepoint: by the job's coordinator, or by a pod if there is none to ask.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use millstream_api::crd::{SnapshotResult, StreamJob, StreamJobSnapshot};
use millstream_api::job::{DeletionPolicy, Spec};
use millstream_api::wire::EraseSavepointRequest;

use super::{Error, Seen};
use crate::context::Context;
use crate::deletion::clean_up;
use crate::deletion::decide::{CleanUp as State, LIMIT_MS};
use crate::event::{Happened, News};
use crate::name::Identity;
use crate::resource::{self, clean_up::CleanUp};
use crate::{deletion, finalizer};

/// One turn of a snapshot that goes.
pub async fn turn(context: &Context, snapshot: &StreamJobSnapshot, seen: &Seen) -> Result<(), Error> {
    let status = snapshot.status.clone().unwrap_or_default();
    let path = status.path.filter(|_| status.result == Some(SnapshotResult::Succeeded));
    let (Some(path), DeletionPolicy::Delete) = (path, snapshot.spec.deletion_policy) else {
        return let_go(context, snapshot, None).await;
    };
    let own = seen.job.as_ref().filter(|job| job.metadata.uid == status.job_uid);
    if let (Some(_), Some(client)) = (own, &seen.client)
        && seen.standing.as_ref().is_some_and(|standing| standing.said.is_some())
    {
        match client.erase_savepoint(&EraseSavepointRequest { path: path.clone() }).await {
            Ok(_) => {
                let news = News::new(Happened::Erased, format!("the savepoint {path} is erased"));
                return let_go(context, snapshot, Some(news)).await;
            }
            Err(error) => tracing::warn!(%error, "the coordinator has not erased a savepoint; trying again"),
        }
    }
    let pod = pod(context, snapshot, own, &path)?;
    let found = context.cache.pod(&pod.namespace().unwrap_or_default(), &pod.name_any());
    let since_ms = deletion::since_ms(snapshot.metadata.deletion_timestamp.as_ref());
    let why = match clean_up::state(found.as_deref()) {
        State::Succeeded => {
            remove(context, found.as_deref()).await?;
            let news = News::new(Happened::Erased, format!("the savepoint {path} is erased"));
            return let_go(context, snapshot, Some(news)).await;
        }
        State::Failed(why) => why,
        _ if since_ms > LIMIT_MS => format!("it could not be erased within {} min", LIMIT_MS / 60_000),
        State::Running => return Ok(()),
        // The coordinator may answer soon.
        State::None if own.is_some() && seen.is_up() => return Ok(()),
        State::None if clean_up::is_namespace_going(&context.client, &pod).await => {
            "its namespace is being deleted, and nothing can run there any more".to_owned()
        }
        State::None => return clean_up::start(&context.client, &pod).await.map_err(Error::Pod),
    };
    remove(context, found.as_deref()).await?;
    let note = format!("the savepoint {path} is left: {why}; remove it yourself");
    let_go(context, snapshot, Some(News::new(Happened::NotErased, note))).await
}

async fn remove(context: &Context, pod: Option<&Pod>) -> Result<(), Error> {
    match pod {
        Some(pod) => clean_up::remove(&context.client, pod).await.map_err(Error::Pod),
        None => Ok(()),
    }
}

async fn let_go(context: &Context, snapshot: &StreamJobSnapshot, news: Option<News>) -> Result<(), Error> {
    if let Some(news) = news {
        context.events.publish(snapshot, &news).await;
    }
    finalizer::put(&context.client, snapshot, false).await.map_err(Error::Finalizer)
}

/// The pod that erases it: as the job's pods are, or with the store alone if the job is gone.
fn pod(
    context: &Context,
    snapshot: &StreamJobSnapshot,
    job: Option<&Arc<StreamJob>>,
    path: &str,
) -> Result<Pod, Error> {
    let status = snapshot.status.clone().unwrap_or_default();
    let identity = Identity {
        namespace: snapshot.namespace().unwrap_or_default(),
        name: snapshot.spec.job_name.clone(),
        uid: status.job_uid.unwrap_or_default(),
    };
    let spec = job.map(|job| job.spec.clone()).unwrap_or_default();
    let spec = Spec { store: status.store.map(Into::into), ..spec };
    let account = job.map(|job| job.spec.service_account_name.clone().unwrap_or_else(|| identity.account()));
    let image = spec.image.clone().unwrap_or_else(|| context.settings.default_image.clone());
    if image.is_empty() {
        return Err(Error::NoImage);
    }
    Ok(resource::clean_up::pod(&CleanUp {
        job: &identity,
        of: &snapshot.uid().unwrap_or_default(),
        spec: &spec,
        image: &image,
        account,
        is_owned: false,
        savepoint: Some(path),
        keep: &[],
    }))
}
