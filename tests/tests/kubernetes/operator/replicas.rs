//! Two operators as processes, of which one acts: its lease is removed, it is paused until the other has taken over and acted, it is
//! killed. What is there in the end is what the newest spec says, and one that woke up late has written nothing.
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use kube::config::Kubeconfig;
use millstream_api::crd::StreamJob;
use millstream_tests::operator::IMAGE;
use millstream_tests::operator::check::Passing;
use millstream_tests::process::{binary, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{LIMIT, Place};

/// A lease lasts 15 s, and is looked at every 2.5 s by those who wait.
const TAKE_OVER: Duration = Duration::from_secs(20);

/// An operator that bears a name of its own in the API server's log.
struct Replica {
    name: &'static str,
    child: Child,
}

impl Replica {
    fn start(place: &Place, folder: &tempfile::TempDir, name: &'static str) -> Result<Self> {
        let mut config = Kubeconfig::read_from(place.server.kubeconfig())?;
        let user = config.auth_infos.first_mut().and_then(|named| named.auth_info.as_mut()).context("no user")?;
        user.impersonate = Some(format!("{name}-{}", place.namespace));
        user.impersonate_groups = Some(vec!["system:masters".into()]);
        let file = folder.path().join(name);
        // JSON is YAML.
        fs::write(&file, serde_json::to_string(&config)?)?;
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
        let lease = format!("{}/operator", place.namespace);
        let mut command = Command::new(binary()?);
        command.args(["operator", "--watch", &place.namespace, "--installation", &lease, "--lease", &lease]);
        command.args(["--instance", name, "--default-image", IMAGE, "--admin", &admin]).env("KUBECONFIG", file);
        let log = fs::File::options().create(true).append(true).open(folder.path().join(format!("{name}.log")))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self { name, child })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_raw(i32::try_from(self.child.id())?).context("pid 0")?, signal)?)
    }

    async fn end(&mut self) -> Result<Option<i32>> {
        let child = &mut self.child;
        Ok(until("the end of an operator", LIMIT, async || Ok(child.try_wait()?)).await?.code())
    }

    /// What it has written so far.
    fn writes(&self, place: &Place) -> Result<Vec<String>> {
        let user = format!("{}-{}", self.name, place.namespace);
        let requests = place.server.requests()?.into_iter();
        let writes =
            requests.filter(|request| request.user == user && !["get", "list", "watch"].contains(&&*request.verb));
        Ok(writes.map(|request| format!("{} {} {}", request.verb, request.resource, request.name)).collect())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn holder(leases: &Api<Lease>) -> Result<Option<String>> {
    let lease = leases.get_opt("operator").await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()))
}

/// Waits until `name` has the lease, and says how long that took.
async fn takes_over(leases: &Api<Lease>, name: &str, after: &str) -> Result<()> {
    #[allow(clippy::disallowed_methods, reason = "a test measures")]
    let begun = Instant::now();
    let limit = TAKE_OVER;
    until("another holder", limit, async || Ok((holder(leases).await?.as_deref() == Some(name)).then_some(()))).await?;
    println!("{after}: {name} took over after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The job with another image, once its pods are told to be of that.
async fn becomes(place: &Place, image: &str) -> Result<StreamJob> {
    let job = place.apply(json!({"image": image})).await?;
    let is_of = |job: &StreamJob| {
        let status = job.status.clone().unwrap_or_default();
        let workers = status.workers.is_some_and(|workers| workers.desired == 1);
        workers && status.revision.is_some_and(|revision| revision.image == image)
    };
    place.status(&job, image, is_of).await
}

#[tokio::test]
async fn of_two_operators_one_acts_and_the_other_takes_over() -> Result<()> {
    let place = Place::new("replicas").await?;
    let _checks = Passing::begin(&place.client, &place.namespace);
    let folder = tempfile::tempdir()?;
    let leases = Api::<Lease>::namespaced(place.client.clone(), &place.namespace);
    let mut one = Replica::start(&place, &folder, "one")?;
    until("a holder", LIMIT, async || Ok(holder(&leases).await?.map(drop))).await?;
    let mut two = Replica::start(&place, &folder, "two")?;
    becomes(&place, "r/m:1").await?;
    ensure!(two.writes(&place)?.is_empty(), "{:?}", two.writes(&place)?);

    // Its lease is removed: it makes it again, before the one that waits may.
    leases.delete("operator", &DeleteParams::default()).await?;
    takes_over(&leases, "one", "its lease was removed").await?;
    becomes(&place, "r/m:2").await?;
    ensure!(two.writes(&place)?.is_empty(), "{:?}", two.writes(&place)?);

    // It is paused, and wakes up when the other has taken over and acted.
    one.signal(Signal::STOP)?;
    let before = one.writes(&place)?;
    takes_over(&leases, "two", "paused").await?;
    let job = becomes(&place, "r/m:3").await?;
    one.signal(Signal::CONT)?;
    ensure!(one.end().await? != Some(0), "one that has lost its lease says so");
    let late: Vec<_> = one.writes(&place)?.split_off(before.len());
    ensure!(late.is_empty(), "it woke up late and wrote: {late:?}");
    assert_eq!(becomes(&place, "r/m:3").await?.metadata.generation, job.metadata.generation);

    // Killed: the one that waits looks at all it had.
    let mut one = Replica::start(&place, &folder, "one")?;
    two.signal(Signal::KILL)?;
    two.end().await?;
    let job = place.apply(json!({"image": "r/m:4"})).await?;
    takes_over(&leases, "one", "killed").await?;
    let job = place.dealt(&job).await?;
    let revision = job.status.and_then(|status| status.revision).context("no revision")?;
    assert_eq!(revision.image, "r/m:4");

    // Told to end, it gives the lease back.
    one.signal(Signal::TERM)?;
    assert_eq!(one.end().await?, Some(0));
    assert_eq!(holder(&leases).await?, None);
    Ok(())
}
