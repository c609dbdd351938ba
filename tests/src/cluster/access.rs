//! Ways to a cluster's API: clients, kubectl, helm, and a log of who asked for what.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::audit;
use crate::process::Done;

static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// A cluster's API, by the folder that the cluster keeps its things in.
#[derive(Debug)]
pub struct Access {
    state: PathBuf,
}

impl Access {
    pub(super) fn new(state: PathBuf) -> Self {
        Self { state }
    }

    /// The folder: logs are in `log/`, of nodes in `nodeN/log/`.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The kubeconfig of somebody who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("pki/admin.kubeconfig")
    }

    /// A client of somebody who may do everything.
    pub async fn client(&self) -> Result<Client> {
        let config = Kubeconfig::read_from(self.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// A client with the rights of a service account, which need not exist.
    pub async fn client_as(&self, namespace: &str, account: &str) -> Result<Client> {
        Ok(Client::try_from(self.config_as(namespace, account).await?)?)
    }

    /// What such a client is made from.
    pub async fn config_as(&self, namespace: &str, account: &str) -> Result<Config> {
        let mut config = Kubeconfig::read_from(self.kubeconfig())?;
        let user = config.auth_infos.first_mut().and_then(|named| named.auth_info.as_mut()).context("no user")?;
        user.impersonate = Some(format!("system:serviceaccount:{namespace}:{account}"));
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        user.impersonate_groups = Some(groups.into_iter().chain(["system:authenticated".to_owned()]).collect());
        Ok(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?)
    }

    /// A namespace of a test's own. Pods in it have to meet `restricted`, as in all namespaces here.
    pub async fn namespace(&self, stem: &str) -> Result<String> {
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("{stem}-{}-{number}", std::process::id());
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(self.client().await?).create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Runs kubectl to its end.
    pub fn kubectl(&self, args: &[&str]) -> Result<Done> {
        self.run("kubectl", args)
    }

    /// Runs helm 4 to its end.
    pub fn helm(&self, args: &[&str]) -> Result<Done> {
        self.run("helm", args)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<Done> {
        let mut command = Command::new(self.programs()?.join(program));
        // Nothing of the person who runs the tests is read or written.
        command.args(args).env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.state);
        command.env("KUBECACHEDIR", self.state.join("kubectl"));
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, self.state.join("helm"));
        }
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        Ok(Done { status: output.status, stdout, stderr })
    }

    /// The folder of Kubernetes' programs, and of kubectl, helm, helm3 and versitygw.
    pub fn programs(&self) -> Result<PathBuf> {
        let folder = fs::read_to_string(self.state.join("programs")).context("the cluster is not up")?;
        Ok(PathBuf::from(folder.trim_end()))
    }

    /// Every request so far of those who are not parts of Kubernetes.
    pub fn requests(&self) -> Result<Vec<audit::Request>> {
        audit::read(&self.state.join("log/audit.log"))
    }
}
