//! The account of a job that names none: it has no rights, and no pod gets its token.
use k8s_openapi::api::core::v1::ServiceAccount;

use super::meta;
use crate::name::Identity;

/// The account.
pub fn account(job: &Identity) -> ServiceAccount {
    ServiceAccount {
        metadata: meta(job, job.account(), None, None),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
