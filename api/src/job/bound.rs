//! Bounds of a job's fields, for the schema of the resource and for the rules in Rust. Every text and list has one: the
//! API server refuses rules in CEL whose input could be of any size.

/// Longest inline SQL: with more, the resource would not fit where Kubernetes keeps it.
pub const SQL_BYTES_MAX: usize = 128 * 1024;
/// Most key groups.
pub const KEY_GROUPS_MAX: u32 = 32_768;
/// Most slots of a worker: each is a thread of a stage.
pub const SLOTS_MAX: u32 = 256;
/// Most entries of `stages`: rules run over each.
pub const STAGES_MAX: usize = 64;
/// Most entries of `variables`.
pub const VARIABLES_MAX: usize = 64;
/// Most entries of `settings`.
pub const SETTINGS_MAX: usize = 128;
/// Most entries of `imagePullSecrets`.
pub const PULL_SECRETS_MAX: usize = 16;
/// Most entries of `upgrade.dropState`.
pub const DROP_STATE_MAX: usize = 256;
/// Most resources a container can ask for.
pub const RESOURCES_MAX: usize = 16;
/// Longest name of a job: names of pods and values of labels, which have at most 63 characters, contain it.
pub const JOB_NAME_MAX: usize = 40;
/// Longest name of an object of Kubernetes, and of what else has a name.
pub const NAME_MAX: usize = 253;
/// Longest name of a variable.
pub const VARIABLE_NAME_MAX: usize = 128;
/// Longest value of a variable.
pub const VARIABLE_VALUE_MAX: usize = 16 * 1024;
/// Longest value of a setting.
pub const SETTING_VALUE_MAX: usize = 1024;
/// Longest reference of an image.
pub const IMAGE_MAX: usize = 512;
/// Longest URI, endpoint or path.
pub const PATH_MAX: usize = 2048;
/// Longest duration or quantity as text.
pub const AMOUNT_MAX: usize = 40;
/// Most checkpoints that are kept.
pub const KEEP_MAX: u32 = 1000;
/// Most failures that can be allowed.
pub const FAILURES_MAX: u32 = 10_000;
/// Longest time a worker can be given to drain: a day.
pub const GRACE_SECONDS_MAX: u32 = 86_400;
