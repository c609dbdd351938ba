//! What concerns only pods.
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

#[cfg(feature = "crd")]
use crate::job::bound;

/// When nodes pull an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum ImagePullPolicy {
    /// Each time a pod starts.
    Always,
    /// If the node has none.
    #[default]
    IfNotPresent,
    /// Not at all: the node must have it.
    Never,
}

/// The pods of the workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Worker {
    /// What the container asks for and may use.
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Time a worker has to hand its key groups over before it is killed.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::GRACE_SECONDS_MAX)))]
    pub termination_grace_period_seconds: u32,
    /// A pod template that is merged into the one the operator makes. The container is called `millstream`. Its command and
    /// ports, the labels of the selector, restartPolicy and volumes named `millstream-*` cannot be overridden.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::crd::schema::open_object"))]
    pub pod_template: Option<Value>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { resources: Resources::default(), termination_grace_period_seconds: 120, pod_template: None }
    }
}

/// The pod of the coordinator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Coordinator {
    /// What the container asks for and may use.
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// A pod template that is merged into the one the operator makes, as that of workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(schema_with = "crate::crd::schema::open_object"))]
    pub pod_template: Option<Value>,
}

/// What a container asks for and may use, by names such as `cpu` and `memory`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "crd", schemars(extend("maxProperties" = bound::RESOURCES_MAX)))]
    pub requests: BTreeMap<String, Amount>,
    /// What cannot be exceeded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "crd", schemars(extend("maxProperties" = bound::RESOURCES_MAX)))]
    pub limits: BTreeMap<String, Amount>,
}

impl Resources {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

/// An amount of a resource as Kubernetes writes it: `500m`, `2`, `4Gi`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Amount(pub String);

impl<'de> Deserialize<'de> for Amount {
    /// From text or from a plain number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Amount;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an amount such as 500m, 2 or 4Gi")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
                let wrong = || E::custom(format!("`{text}` is not an amount; write one such as 500m, 2 or 4Gi"));
                is_amount(text).then(|| Amount(text.to_owned())).ok_or_else(wrong)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }

            /// Kubernetes refuses fractions outside quotes in a custom resource.
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Amount, E> {
                Err(E::custom(format!("write the fraction {number} as text, such as \"{number}\" or 500m")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What the schema says as a pattern: a number, perhaps with a fraction, and a suffix or an exponent.
fn is_amount(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or(text);
    let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (number, suffix) = number.split_at(end);
    let is_number = number.contains(|c: char| c.is_ascii_digit()) && number.matches('.').count() <= 1;
    let is_exponent = |digits: &str| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    let exponent = suffix.strip_prefix(['e', 'E']);
    let exponent = exponent.map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
    is_number && (SUFFIXES.contains(&suffix) || exponent.is_some_and(is_exponent))
}

const SUFFIXES: [&str; 14] = ["", "m", "k", "Ki", "M", "Mi", "G", "Gi", "T", "Ti", "P", "Pi", "E", "Ei"];

/// The same as a pattern, for the API server.
#[cfg(feature = "crd")]
const AMOUNT_PATTERN: &str = "^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)(m|k|Ki|[MGTPE]i?|[eE][+-]?[0-9]+)?$";

#[cfg(feature = "crd")]
impl schemars::JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": bound::AMOUNT_MAX,
            "pattern": AMOUNT_PATTERN,
        })
    }
}
