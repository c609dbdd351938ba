//! The two services of a job. Pods dial each other by address; these are for people, scrapers and the first contact.
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use crate::name::{Identity, Role, port};

/// In front of the coordinator: where workers register and the job's API is. It is ready as soon as it listens, whatever it thinks of
/// the job. One that is not is not published: the address of a lost node would swallow half of the workers' dials.
pub fn coordinator(job: &Identity) -> Service {
    let spec = spec(job, Role::Coordinator, &[("control", port::CONTROL), ("api", port::API)]);
    service(job, job.coordinator_service(), Role::Coordinator, spec)
}

/// Headless, for the names of the workers.
pub fn workers(job: &Identity) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".into()),
        ..spec(job, Role::Worker, &[("data", port::DATA), ("admin", port::ADMIN)])
    };
    service(job, job.workers_service(), Role::Worker, spec)
}

fn service(job: &Identity, name: String, role: Role, spec: ServiceSpec) -> Service {
    Service { metadata: meta(job, name, Some(role), None), spec: Some(spec), ..Service::default() }
}

fn spec(job: &Identity, role: Role, ports: &[(&str, u16)]) -> ServiceSpec {
    let ports = ports.iter().map(|(name, port)| ServicePort {
        name: Some((*name).to_owned()),
        port: i32::from(*port),
        target_port: Some(IntOrString::String((*name).to_owned())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    });
    ServiceSpec {
        selector: Some(job.selector(role)),
        ports: Some(ports.collect()),
        type_: Some("ClusterIP".into()),
        ..ServiceSpec::default()
    }
}
