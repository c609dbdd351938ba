//! Coordinators and workers as they run in pods, as processes on this machine: each has an address of its own on loopback, so that
//! all have the ports they have in a cluster.
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_api::wire::{JobStatus, RescaleStatus, StageStatus};
use millstream_runtime::pod::{ADMIN_PORT, API_PORT};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{binary, until};

const NAMESPACE: &str = "space";
const UID: &str = "6a1f3f0e-0c5b-4a53-9a53-2f0a6f4e2b11";
/// Token of the API.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Bytes of a log that an error shows.
const LOG_TAIL_BYTES: usize = 3_000;

/// A versitygw with one bucket, `bucket`.
pub struct S3 {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl S3 {
    /// An address for a server that does not run yet.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("bucket"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Self { folder, port, child: None })
    }

    /// Starts it; built once, with the other parts of the test cluster.
    pub fn start(&mut self) -> Result<()> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/build.sh");
        let built = Command::new("bash").arg(script).output()?;
        ensure!(built.status.success(), "{script}: {}", String::from_utf8_lossy(&built.stderr));
        let built = String::from_utf8(built.stdout)?;
        let program = Path::new(built.lines().last().unwrap_or_default()).join("versitygw");
        let mut command = Command::new(program);
        command.env("ROOT_ACCESS_KEY", "key").env("ROOT_SECRET_KEY", "secret");
        command.args(["--port", &format!("127.0.0.1:{}", self.port), "--quiet", "posix"]).arg(self.folder.path());
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            ensure!(
                self.child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(None))),
                "versitygw has ended"
            );
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it as a crash does. What it has stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `spec.store` of a job that keeps its checkpoints here.
    pub fn store(&self) -> String {
        format!("{{uri: \"s3://bucket/jobs\", endpoint: \"http://127.0.0.1:{}\", region: us-east-1}}", self.port)
    }

    /// Folder of the objects.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join("bucket/jobs")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The job's certificate authority and the files it fills.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: PathBuf) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("token"), TOKEN)?;
        Ok(Self { certificate: params.self_signed(&key)?, issuer: Issuer::new(params, key), folder })
    }

    /// Writes new leaves for both roles of a job.
    pub fn renew(&self, job: &str) -> Result<()> {
        for role in ["coordinator", "worker"] {
            let key = KeyPair::generate()?;
            let params = CertificateParams::new(vec![format!("{job}-{role}.{NAMESPACE}.svc")])?;
            let leaf = params.signed_by(&key, &self.issuer)?;
            let files = [(format!("{role}.crt"), leaf.pem()), (format!("{role}.key"), key.serialize_pem())];
            for (name, text) in files.into_iter().chain([("ca.crt".to_owned(), self.certificate.pem())]) {
                let new = self.folder.join("new");
                fs::write(&new, text)?;
                fs::rename(new, self.folder.join(name))?;
            }
        }
        Ok(())
    }
}

/// The pods of one job.
pub struct Pods {
    folder: PathBuf,
    job: String,
    uid: String,
    network: u8,
    /// Who signs their certificates.
    pub authority: Authority,
    running: Vec<(String, Child)>,
}

/// The next address of this process that no other test uses.
fn network() -> u8 {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

impl Pods {
    /// Of the StreamJob in `file`, whose name is `job`; nothing runs yet.
    pub fn new(folder: &Path, job: &str, file: &str) -> Result<Self> {
        let authority = Authority::new(folder.join("tls"))?;
        authority.renew(job)?;
        fs::copy(file, folder.join("job.yaml"))?;
        let (folder, job) = (folder.to_owned(), job.to_owned());
        Ok(Self { folder, job, uid: UID.into(), network: network(), authority, running: Vec::new() })
    }

    /// Another job of the same name: its object was deleted and applied again.
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.uid = uid.into();
        self
    }

    fn address(&self, number: u8) -> String {
        // Apart from those of other test processes, too.
        format!("127.{}.{}.{number}", 64 + std::process::id() % 128, self.network)
    }

    /// Starts the pod of a role; worker `n` has number `n + 1`. `more` goes into its environment.
    pub fn start(&mut self, role: &str, number: u8, grace_s: u32, more: &[(&str, &str)]) -> Result<String> {
        let name = if role == "worker" { format!("{}-w-abcde-{}", self.job, number - 1) } else { role.to_owned() };
        let path = |name: &str| self.folder.join(name);
        fs::create_dir_all(path(&name))?;
        let log = || File::options().create(true).append(true).open(path(&format!("{name}.log")));
        let mut command = Command::new(binary()?);
        command.args([role, "--listen", &self.address(number), "--job"]).arg(path("job.yaml"));
        command.arg("--tls").arg(path("tls")).arg("--data").arg(path(&name));
        command.arg("--termination-log").arg(path(&format!("{name}.termination")));
        command.env("MILLSTREAM_POD_NAME", &name).env("MILLSTREAM_POD_IP", self.address(number));
        command.env("MILLSTREAM_NAMESPACE", NAMESPACE).env("MILLSTREAM_JOB_UID", &self.uid);
        command.env("MILLSTREAM_COORDINATOR", self.address(0)).env("MILLSTREAM_GRACE_SECONDS", grace_s.to_string());
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").envs(more.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(log()?).stderr(log()?).spawn()?;
        self.running.push((name.clone(), child));
        Ok(name)
    }

    fn child(&mut self, name: &str) -> Result<&mut Child> {
        let found = self.running.iter_mut().rev().find(|(other, _)| other == name);
        found.map(|(_, child)| child).with_context(|| format!("no pod {name}"))
    }

    /// Sends a signal to a pod's process.
    pub fn signal(&mut self, name: &str, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child(name)?.id())?).context("pid 0")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the end of a pod's process.
    pub async fn end(&mut self, name: &str, limit: Duration) -> Result<ExitStatus> {
        let child = self.child(name)?;
        let ended = until("the end of a pod", limit, async || Ok(child.try_wait()?)).await;
        ended.map_err(|error| self.explain(error))
    }

    /// Its last word.
    pub fn termination(&self, name: &str) -> Result<serde_json::Value> {
        let text = fs::read_to_string(self.folder.join(format!("{name}.termination")))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What it has logged.
    pub fn log(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join(format!("{name}.log")))?)
    }

    /// Status and body of a call to the job's API.
    pub async fn call(&self, token: &str, path: &str, body: Option<serde_json::Value>) -> Result<(u16, String)> {
        let name = format!("{}-coordinator.{NAMESPACE}.svc", self.job);
        let address: SocketAddr = format!("{}:{API_PORT}", self.address(0)).parse()?;
        let authority = reqwest::Certificate::from_pem(self.authority.certificate.pem().as_bytes())?;
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).resolve(&name, address);
        let client = client.timeout(Duration::from_secs(5)).build()?;
        let url = format!("https://{name}:{API_PORT}/api/v1/{path}");
        let request = match body {
            Some(body) => client.post(url).json(&body),
            None => client.get(url),
        };
        let response = request.bearer_auth(token).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// What is behind a path of the API; none while nobody answers.
    pub async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        let (status, body) = self.call(TOKEN, path, None).await.ok()?;
        if status == 200 { serde_json::from_str(&body).ok() } else { None }
    }

    /// Releases a worker that is registered; status and body.
    pub async fn release(&self, name: &str) -> Result<(u16, String)> {
        let job: JobStatus = self.get("job").await.context("no job")?;
        let found = job.workers.iter().find(|worker| worker.id == name).with_context(|| format!("no worker {name}"))?;
        let worker = serde_json::json!({"name": name, "incarnation": found.incarnation});
        self.call(TOKEN, "workers/release", Some(serde_json::json!({"workers": [worker]}))).await
    }

    /// Status of a probe of pod number `number`.
    pub async fn probe(&self, number: u8, path: &str) -> Result<u16> {
        let url = format!("http://{}:{ADMIN_PORT}/{path}", self.address(number));
        Ok(reqwest::Client::builder().no_proxy().build()?.get(url).send().await?.status().as_u16())
    }

    /// Waits until the job is as `look` says.
    pub async fn until<T>(&mut self, what: &str, mut look: impl FnMut(&JobStatus) -> Option<T>) -> Result<T> {
        let limit = Duration::from_secs(60);
        let found = until(what, limit, async || Ok(self.get::<JobStatus>("job").await.and_then(|job| look(&job))));
        found.await.map_err(|error| self.explain(error))
    }

    /// Its stages.
    pub async fn stages(&self) -> Result<Vec<StageStatus>> {
        self.get("stages").await.context("no stages")
    }

    /// Its rescales, newest first.
    pub async fn rescales(&self) -> Result<Vec<RescaleStatus>> {
        self.get("rescales").await.context("no rescales")
    }

    /// An error with the ends of all logs.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let mut text = format!("{error:#}");
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = fs::read(&path).unwrap_or_default();
                let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned();
                text.push_str(&format!("\n--- {}\n{tail}", path.display()));
            }
        }
        anyhow::anyhow!(text)
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
