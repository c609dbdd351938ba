//! A real Kubernetes for tests, of plain processes on this machine: `ApiServer` has etcd and kube-apiserver, `Cluster` also
//! two nodes with kubelets. What starts and ends the processes is `tests/cluster/cluster.sh`, which a person uses as well.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use millstream_tests::cluster::ApiServer;
//!
//! let server = ApiServer::shared().await?; // one for all tests of a binary, and gone with it
//! let client = server.client().await?; // of its own for every test, because every test has a runtime of its own
//! let namespace = server.namespace("orders").await?;
//! let maps = kube::Api::<ConfigMap>::namespaced(client, &namespace);
//! assert!(maps.list(&Default::default()).await?.items.is_empty());
//! # Ok(())
//! # }
//! ```

mod access;
mod api_server;
pub mod audit;
mod keeper;
mod nodes;
pub mod pod;

pub use access::Access;
pub use api_server::ApiServer;
pub use nodes::Cluster;
