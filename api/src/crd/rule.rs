//! The rules in CEL: what holds between fields and from one version of an object to the next. Each message says what to
//! do; `field_path` is where a person finds it. The API server applies them, and so does [`super::check`].
use kube::core::Rule;

use crate::job::bound;

fn rule(text: impl Into<String>, message: impl AsRef<str>) -> Rule {
    Rule::new(text).message(message.as_ref())
}

/// On the job: names of pods and values of labels are made from its name. The message says where, since a field path
/// cannot lead into the metadata.
pub fn job_name() -> Rule {
    let inner = bound::JOB_NAME_MAX - 2;
    rule(
        format!("self.metadata.name.matches('^[a-z]([-a-z0-9]{{0,{inner}}}[a-z0-9])?$')"),
        format!(
            "metadata.name must be 1 to {} lower-case letters, digits and dashes, from a letter to a letter or digit",
            bound::JOB_NAME_MAX
        ),
    )
}

/// On the spec: what stands between its parts.
pub fn spec() -> Vec<Rule> {
    let memory = "self.worker.resources.limits['memory']";
    vec![
        rule(
            "self.parallelism <= self.keyGroups",
            "is more than the key groups there are to share; lower it, or start a new job with more keyGroups",
        )
        .field_path(".parallelism"),
        rule(
            "self.autoscaling.minParallelism <= self.keyGroups",
            "is more than the key groups there are to share; lower it, or start a new job with more keyGroups",
        )
        .field_path(".autoscaling.minParallelism"),
        rule(
            "!has(self.stages) || self.stages.all(stage, (!has(stage.parallelism) || stage.parallelism <= self.keyGroups) \
             && (!has(stage.minParallelism) || stage.minParallelism <= self.keyGroups))",
            "a parallelism or minParallelism is more than the key groups there are to share; lower it, or start a new job \
             with more keyGroups",
        )
        .field_path(".stages"),
        rule(
            "!has(self.stages) || self.stages.all(stage, (has(stage.minParallelism) ? stage.minParallelism : \
             self.autoscaling.minParallelism) <= (has(stage.maxParallelism) ? stage.maxParallelism : \
             self.autoscaling.maxParallelism))",
            "a minParallelism is above the maxParallelism; where a stage gives none, that of autoscaling counts",
        )
        .field_path(".stages"),
        rule(
            format!(
                "!has(self.worker.resources) || !has(self.worker.resources.limits) || \
                 !('memory' in self.worker.resources.limits) || !isQuantity(self.state.memory) || \
                 quantity(self.state.memory).isLessThan(quantity(string({memory})))"
            ),
            "must be less than worker.resources.limits.memory, which also holds batches and the process itself; lower it \
             or raise the limit",
        )
        .field_path(".state.memory"),
    ]
}

/// On the number of key groups.
pub fn key_groups() -> Vec<Rule> {
    vec![rule(
        "self == oldSelf",
        "cannot be changed, since state is kept by key group; put the old value back, or create a job with another name",
    )]
}

/// On the SQL text.
pub fn sql() -> Vec<Rule> {
    let most = bound::SQL_BYTES_MAX;
    vec![
        rule(
            "[has(self.inline), has(self.configMap), has(self.imagePath)].filter(given, given).size() == 1",
            "give exactly one of inline, configMap and imagePath",
        ),
        rule("!has(self.inline) || self.inline.trim() != ''", "is empty; write the job's SQL here")
            .field_path(".inline"),
        rule(
            format!("!has(self.inline) || size(bytes(self.inline)) <= {most}"),
            format!("is more than {most} bytes; use configMap or imagePath"),
        )
        .field_path(".inline"),
    ]
}

/// On each variable.
pub fn variable() -> Vec<Rule> {
    vec![
        rule("has(self.value) != has(self.secretKeyRef)", "give exactly one of value and secretKeyRef"),
        rule(
            "self.name.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
            "must be letters, digits and _, not beginning with a digit",
        )
        .field_path(".name"),
    ]
}

/// On the bounds of the autoscaler.
pub fn autoscaling() -> Vec<Rule> {
    vec![
        rule(
            "self.minParallelism <= self.maxParallelism",
            "is below minParallelism; raise it, or lower minParallelism",
        )
        .field_path(".maxParallelism"),
    ]
}

/// On the checkpoint store.
pub fn store() -> Vec<Rule> {
    vec![
        rule("has(self.uri) != has(self.claimName)", "give exactly one of uri and claimName"),
        rule(
            "!has(self.claimName) || !(has(self.endpoint) || has(self.region) || has(self.credentialsSecretName))",
            "endpoint, region and credentialsSecretName belong to uri; leave them out with claimName",
        ),
        rule(
            "!has(self.uri) || self.uri.matches('^(s3://[^/@]+(/.*)?|file:///.+)$')",
            "must be s3://BUCKET/PREFIX, or file:///PATH for a folder that all pods share; credentials go into a Secret",
        )
        .field_path(".uri"),
        rule(
            "!has(self.endpoint) || self.endpoint.matches('^https?://[^/@]+/?$')",
            "must be http://HOST:PORT or https://HOST:PORT; credentials go into a Secret",
        )
        .field_path(".endpoint"),
    ]
}

/// On the state a job starts with.
pub fn start_from() -> Vec<Rule> {
    vec![
        rule(
            "has(self.snapshotName) == (self.mode == 'Snapshot')",
            "goes with mode Snapshot and with no other; give both or neither",
        )
        .field_path(".snapshotName"),
        rule("has(self.path) == (self.mode == 'Path')", "goes with mode Path and with no other; give both or neither")
            .field_path(".path"),
    ]
}

/// On each quantity of bytes.
pub fn quantity() -> Vec<Rule> {
    vec![rule(
        "self.matches('^[0-9]+([.][0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$') && self.matches('[1-9]')",
        "is not a quantity of bytes above 0; write one such as 256Mi",
    )]
}

/// On each duration. The digits are bounded so that every duration fits a number of milliseconds.
pub fn duration() -> Vec<Rule> {
    let number = |digits: u32| format!("([0-9]{{1,{digits}}}([.][0-9]*)?|[.][0-9]+)");
    let part = |digits: u32, unit: &str| format!("({}{unit})?", number(digits));
    let parts = [part(8, "d"), part(8, "h"), part(10, "m"), part(10, "s"), part(10, "ms")].concat();
    vec![
        rule(
            format!("self.matches('[a-z]') && self.matches('^\\\\s*{parts}\\\\s*$')"),
            "is not a duration; write a number with a unit of d, h, m, s or ms, such as 10s, 100ms or 1h30m",
        ),
        rule("self.matches('[1-9]')", "must be longer than 0, such as 10s"),
    ]
}

/// On the job a snapshot is of.
pub fn snapshot_job() -> Vec<Rule> {
    vec![rule("self == oldSelf", "cannot be changed; create another snapshot for another job")]
}
