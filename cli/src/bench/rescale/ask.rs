//! A rescale, asked for and watched through the job's API.
use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use millstream_api::wire::{RescaleRequest, RescaleStatus};
use millstream_operator::client;
use serde::Deserialize;
use serde_json::json;

use super::scenario::Scenario;
use crate::args::Strategy;
use crate::fail::user;

/// What a request of this scenario says.
pub fn request(scenario: &Scenario, strategy: Strategy, (stage, tasks): (&str, u32)) -> Result<RescaleRequest> {
    let stages = BTreeMap::from([(stage, tasks)]);
    let wanted = json!({"stages": stages, "strategy": strategy.name(), "batch": scenario.batch.name()});
    let unknown = |error: serde_json::Error| user(format!("--strategy {}: {error}", strategy.name()));
    serde_json::from_value(wanted).map_err(unknown)
}

/// What the API says of a rescale; what a strategy does not count is absent.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Moved {
    pub id: u64,
    state: String,
    pub requested_at_ms: i64,
    #[serde(default)]
    pub duration_ms: Option<u64>,
    pub groups_moved: u32,
    pub groups_moved_min: u32,
    #[serde(default)]
    pub bytes_moved: u64,
    #[serde(default)]
    reason: Option<String>,
}

impl Moved {
    /// As the API gives it.
    pub fn of(status: &RescaleStatus) -> Result<Self> {
        serde_json::from_value(serde_json::to_value(status)?).context("the API's rescales are of another version")
    }

    /// Its end, ms since 1970, if it is done; an error if it will never be.
    pub fn done_at_ms(&self) -> Result<Option<i64>> {
        match self.state.as_str() {
            "running" => Ok(None),
            "done" => {
                let duration_ms = self.duration_ms.context("a rescale that is done has no duration")?;
                Ok(Some(self.requested_at_ms.saturating_add_unsigned(duration_ms)))
            }
            state => bail!("the rescale is {state}: {}", self.reason.as_deref().unwrap_or("see the job's logs")),
        }
    }
}

/// A strategy that this job cannot do is the user's to change.
pub fn refused(error: millstream_operator::platform::Error) -> anyhow::Error {
    match error {
        millstream_operator::platform::Error::Api(client::Error::Refused { status: 400, message }) => user(message),
        error => error.into(),
    }
}
