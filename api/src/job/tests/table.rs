//! Good and bad jobs, each judged twice: by the rules in Rust (`crd/tests/rules.rs`), and by a real API server that has the
//! definitions (`tests/tests/kubernetes/resource.rs`, which reads this file as well).

/// A job that gives every field.
pub const WHOLE: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: orders, annotations: {millstream.dev/restart: \"1\"}}
spec:
  sql: {inline: \"INSERT INTO a SELECT * FROM b\"}
  variables: [{name: KAFKA_PASSWORD, secretKeyRef: {name: kafka, key: password}}, {name: A, value: \"\"}]
  image: r/millstream:0.1.0
  imagePullPolicy: IfNotPresent
  imagePullSecrets: [{name: registry}]
  serviceAccountName: orders
  settings: [{name: batch.rows, value: \"2048\"}]
  keyGroups: 256
  parallelism: 4
  stages: [{name: bids, parallelism: 2, minParallelism: 1, maxParallelism: 8}, {name: b, minParallelism: 16}]
  slotsPerWorker: 1
  autoscaling: {mode: Auto, minParallelism: 1, maxParallelism: 16, targetUtilizationPercent: 80}
  rescale: {strategy: Incremental, podTimeout: 10m}
  state: {backend: RocksDB, memory: 256Mi, disk: 10Gi, storageClassName: fast}
  store: {uri: \"s3://bucket/prefix\", endpoint: \"http://s3:9000\", region: r, credentialsSecretName: s3}
  checkpoint: {interval: 1h30m, timeout: 10m, keep: 3}
  restart: {maxFailures: 0, window: 1.5s}
  startFrom: {mode: Path, path: s3://bucket/prefix/ns/orders/uid/1}
  upgrade: {healthTimeout: 5m, rollback: Automatic, dropState: [a, b]}
  suspend: false
  deletionPolicy: Retain
  worker:
    resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: 2, memory: 1.5Gi, example.com/x: \"1\"}}
    terminationGracePeriodSeconds: 120
    podTemplate: {spec: {nodeSelector: {disk: ssd}}}
  coordinator: {resources: {limits: {memory: 512Mi}}, podTemplate: {}}
";

/// One that gives as little as it can.
pub const SMALL: &str = "apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: small}
spec:
  sql: {inline: SELECT}
";

/// Names that a job can have.
pub const GOOD_NAMES: &[&str] = &["a", "a1", "a-b", "a-name-of-forty-letters-digits-dashes-40"];

/// What a small job can have besides.
pub const GOOD: &[&str] = &[
    "store: {claimName: shared}",
    "store: {uri: \"file:///var/checkpoints\"}",
    "store: {uri: \"s3://bucket\", endpoint: \"https://s3.example.com/\"}",
    "startFrom: {mode: Latest}",
    "startFrom: {mode: Snapshot, snapshotName: before}",
    "checkpoint: {interval: 100ms, timeout: 2d}",
    "checkpoint: {interval: \".5s\", timeout: \" 1m30s \"}",
    "state: {memory: \"1048576\", disk: 1.5G}",
    "worker: {resources: {limits: {memory: 268435457}}}",
    "parallelism: 32768\n  keyGroups: 32768",
    "variables: [{name: _a1, value: x}]",
];

/// What is added to a small job, where the API server finds it wrong, what it says.
pub const BAD: &[(&str, &str, &str)] = &[
    ("parallelism: 257", "spec.parallelism", "is more than the key groups there are to share"),
    ("parallelism: 0", "spec.parallelism", "0 must be from 1 to 32768"),
    ("keyGroups: 32769", "spec.keyGroups", "32769 must be from 1 to 32768"),
    ("slotsPerWorker: 0", "spec.slotsPerWorker", "0 must be from 1 to 256"),
    (
        "autoscaling: {minParallelism: 4, maxParallelism: 2}",
        "spec.autoscaling.maxParallelism",
        "is below minParallelism",
    ),
    (
        "autoscaling: {minParallelism: 300, maxParallelism: 300}",
        "spec.autoscaling.minParallelism",
        "is more than the key",
    ),
    ("autoscaling: {maxParallelism: 0}", "spec.autoscaling.maxParallelism", "0 must be from 1 to 32768"),
    (
        "autoscaling: {targetUtilizationPercent: 101}",
        "spec.autoscaling.targetUtilizationPercent",
        "101 must be from 1 to 100",
    ),
    ("stages: [{name: a}, {name: a}]", "spec.stages[1].name", "`a` is there already"),
    ("stages: [{name: \"\"}]", "spec.stages[0].name", "it cannot be empty"),
    ("stages: [{name: a, minParallelism: 3, maxParallelism: 2}]", "spec.stages", "a minParallelism is above"),
    ("stages: [{name: a, minParallelism: 17}]", "spec.stages", "a minParallelism is above"),
    (
        "stages: [{name: a, maxParallelism: 1}]\n  autoscaling: {minParallelism: 2}",
        "spec.stages",
        "a minParallelism is above",
    ),
    ("stages: [{name: a, parallelism: 257}]", "spec.stages", "a parallelism or minParallelism is more than"),
    ("stages: [{name: a, parallelism: 0}]", "spec.stages[0].parallelism", "0 must be from 1 to 32768"),
    ("checkpoint: {interval: 0s}", "spec.checkpoint.interval", "must be longer than 0"),
    ("checkpoint: {timeout: 0ms}", "spec.checkpoint.timeout", "must be longer than 0"),
    ("checkpoint: {keep: 0}", "spec.checkpoint.keep", "0 must be from 1 to 1000"),
    ("restart: {window: 0s}", "spec.restart.window", "must be longer than 0"),
    ("upgrade: {healthTimeout: 0s}", "spec.upgrade.healthTimeout", "must be longer than 0"),
    ("rescale: {podTimeout: 0s}", "spec.rescale.podTimeout", "must be longer than 0"),
    ("state: {memory: lots}", "spec.state.memory", "is not a quantity of bytes above 0; write one such as 256Mi"),
    ("state: {disk: 0Gi}", "spec.state.disk", "is not a quantity of bytes above 0; write one such as 256Mi"),
    ("store: {region: r}", "spec.store", "give exactly one of uri and claimName"),
    ("store: {uri: \"s3://b\", claimName: c}", "spec.store", "give exactly one of uri and claimName"),
    ("startFrom: {mode: Path}", "spec.startFrom.path", "goes with mode Path"),
    ("startFrom: {mode: Snapshot}", "spec.startFrom.snapshotName", "goes with mode Snapshot"),
    ("startFrom: {path: x}", "spec.startFrom.path", "goes with mode Path"),
    ("startFrom: {mode: Latest, snapshotName: x}", "spec.startFrom.snapshotName", "goes with mode Snapshot"),
    ("variables: [{name: 1a, value: x}]", "spec.variables[0].name", "must be letters, digits and _"),
    ("variables: [{name: a}]", "spec.variables[0]", "give exactly one of value and secretKeyRef"),
    ("variables: [{name: a, value: x}, {name: a, value: z}]", "spec.variables[1].name", "`a` is there already"),
];

/// SQL that no job can have, and where it is wrong.
pub const BAD_SQL: &[(&str, &str)] =
    &[("{}", "spec.sql"), ("{inline: x, imagePath: z}", "spec.sql"), ("{inline: \" \"}", "spec.sql.inline")];

/// Names that no job can have.
pub const BAD_NAMES: &[&str] = &["", "A", "1a", "a-", "a_b", "a.b", "a-name-of-forty-letters-digits-dashes-401"];

/// What is added to a small job that the rules in Rust take and the definition refuses, and what is said.
pub const BAD_BY_DEFINITION: &[(&str, &str)] = &[
    (
        "worker: {resources: {limits: {memory: 256Mi}}}",
        "spec.state.memory: must be less than worker.resources.limits.memory, which also holds batches",
    ),
    ("worker: {resources: {limits: {memory: 1000}}}", "spec.state.memory: must be less than"),
    ("store: {claimName: c, region: r}", "spec.store: endpoint, region and credentialsSecretName belong to uri"),
    ("store: {uri: bucket}", "spec.store.uri: must be s3://BUCKET/PREFIX"),
    ("store: {uri: \"s3://key:secret@bucket\"}", "spec.store.uri: must be s3://BUCKET/PREFIX"),
    ("store: {uri: \"s3://b\", endpoint: s3:9000}", "spec.store.endpoint: must be http://HOST:PORT"),
    ("worker: {terminationGracePeriodSeconds: 0}", "spec.worker.terminationGracePeriodSeconds: 0 must be from 1 to"),
    ("restart: {maxFailures: 10001}", "spec.restart.maxFailures: 10001 must be from 0 to 10000"),
    ("image: \"\"", "spec.image: is too short; it cannot be empty"),
    ("upgrade: {dropState: [a, a]}", "spec.upgrade.dropState[1]: `a` is there already"),
    ("imagePullSecrets: [{name: a}, {name: a}]", "spec.imagePullSecrets[1].name: `a` is there already"),
];
