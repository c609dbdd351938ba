//! What a job's pods prove themselves with, kept in two Secrets that the operator makes, reads by name and renews. It looks at no
//! other Secret, and watches none.
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::authority::{self, Pair};
use crate::name::{Identity, Role};
use crate::random;
use crate::resource::secret::{self, Tls};

/// Why a job has no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing a Secret.
    #[error("cannot {verb} the secret {name}")]
    Api {
        /// `read`, `create` or `renew`.
        verb: &'static str,
        /// Which.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] random::Error),
    /// No certificate.
    #[error(transparent)]
    Authority(#[from] authority::Error),
    /// A Secret of that name that is none of ours.
    #[error("the Secret {name} belongs to something else; it must go before this job can have its own")]
    Foreign {
        /// Which.
        name: String,
    },
}

/// What [`ensure`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They are good.
    None,
    /// There were none.
    Made,
    /// They were due.
    Renewed,
}

/// The credentials as they are, without making any.
pub async fn read(client: &Client, job: &Identity) -> Result<Option<Tls>, Error> {
    let name = job.tls_secret();
    let api = Api::<Secret>::namespaced(client.clone(), &job.namespace);
    let found = api.get_opt(&name).await.map_err(|source| Error::Api { verb: "read", name, source })?;
    Ok(found.filter(|secret| is_of(secret, job)).as_ref().and_then(secret::read_tls))
}

/// Makes what is missing and renews what is due. Secrets that somebody has removed get the token of `before` again, so that the pods
/// need not begin anew. Two operators that do so at once come to the same result: the second is refused
/// by the first one's write, and reads it at its next turn.
pub async fn ensure(
    client: &Client,
    job: &Identity,
    before: Option<&Tls>,
    now_ms: i64,
    life: Duration,
) -> Result<(Tls, Change), Error> {
    let api = Api::<Secret>::namespaced(client.clone(), &job.namespace);
    let found = get(&api, job.tls_secret(), job).await?;
    let known = found.as_ref().and_then(secret::read_tls);
    if let Some(tls) = known.as_ref().filter(|tls| now_ms < tls.renew_at_ms) {
        return Ok((tls.clone(), Change::None));
    }
    let authority = ensure_authority(&api, job, now_ms).await?;
    let leaf = |role: Role| {
        let key = random::key_pair()?;
        Ok::<_, Error>(authority::leaf(&authority, &job.host(role), &key, now_ms, life)?)
    };
    let (token, token_since_ms) = match known.as_ref().or(before) {
        // Those who hold it go on.
        Some(before) => (before.token.clone(), before.token_since_ms),
        // A secret that was damaged stays as old as it is.
        None => (random::token()?, found.as_ref().map(|_| now_ms.div_euclid(1000) * 1000)),
    };
    let mut tls = Tls {
        bundle: authority.certificate.clone(),
        coordinator: leaf(Role::Coordinator)?,
        worker: leaf(Role::Worker)?,
        token,
        token_since_ms,
        renew_at_ms: authority::renew_at_ms(now_ms, life),
    };
    let mut wanted = secret::tls(job, &tls);
    match &found {
        None => {
            let made = create(&api, &wanted).await?;
            tls.token_since_ms = tls.token_since_ms.or_else(|| secret::made_ms(&made));
        }
        Some(found) => {
            wanted.metadata.resource_version = found.metadata.resource_version.clone();
            let name = job.tls_secret();
            let replaced = api.replace(&name, &PostParams::default(), &wanted).await;
            replaced.map_err(|source| Error::Api { verb: "renew", name, source })?;
        }
    }
    Ok((tls, if known.is_some() { Change::Renewed } else { Change::Made }))
}

async fn ensure_authority(api: &Api<Secret>, job: &Identity, now_ms: i64) -> Result<Pair, Error> {
    let found = get(api, job.authority_secret(), job).await?;
    if let Some(authority) = found.as_ref().and_then(secret::read_authority) {
        return Ok(authority);
    }
    let authority = authority::authority(&job.name, &random::key_pair()?, now_ms)?;
    let mut wanted = secret::authority(job, &authority);
    match found {
        None => drop(create(api, &wanted).await?),
        // Damaged: nothing can be signed with it, so all is made anew.
        Some(found) => {
            wanted.metadata.resource_version = found.metadata.resource_version;
            let name = job.authority_secret();
            let replaced = api.replace(&name, &PostParams::default(), &wanted).await;
            replaced.map_err(|source| Error::Api { verb: "renew", name, source })?;
        }
    }
    Ok(authority)
}

async fn get(api: &Api<Secret>, name: String, job: &Identity) -> Result<Option<Secret>, Error> {
    let found = api.get_opt(&name).await;
    match found.map_err(|source| Error::Api { verb: "read", name: name.clone(), source })? {
        Some(secret) if !is_of(&secret, job) => Err(Error::Foreign { name }),
        found => Ok(found),
    }
}

async fn create(api: &Api<Secret>, secret: &Secret) -> Result<Secret, Error> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let created = api.create(&PostParams::default(), secret).await;
    created.map_err(|source| Error::Api { verb: "create", name, source })
}

/// A Secret of an earlier job of that name goes with it and is not taken over.
fn is_of(secret: &Secret, job: &Identity) -> bool {
    secret.metadata.owner_references.iter().flatten().any(|owner| owner.uid == job.uid)
}
