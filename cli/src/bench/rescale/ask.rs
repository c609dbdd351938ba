//! A rescale, asked for and watched through the job's API.
use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use millstream_api::wire::{RescaleRequest, RescaleState, RescaleStatus};
use millstream_operator::client;
use millstream_operator::platform::{Error, Platform};

use super::scenario::Scenario;
use super::watch::Watch;
use crate::args::Strategy;
use crate::fail::user;

/// Asks for a rescale; answers its id and the time of the request.
pub async fn ask(
    watch: &mut Watch,
    (scenario, strategy): (&Scenario, Strategy),
    (stage, tasks): (&str, u32),
) -> Result<(u64, i64)> {
    let request = RescaleRequest {
        stages: BTreeMap::from([(stage.to_owned(), tasks)]),
        strategy: strategy.wire(),
        batch: scenario.batch.wire(),
        ..RescaleRequest::default()
    };
    let status = watch.platform.rescale(&request).await.map_err(whose)?;
    if status.strategy != request.strategy {
        let is = serde_json::to_string(&status.strategy)?;
        return Err(user(format!("--strategy {}: the job's coordinator does {is} instead", strategy.name())));
    }
    Ok((status.id, status.requested_at_ms))
}

/// A strategy that the job cannot do is the user's to change.
fn whose(error: Error) -> anyhow::Error {
    match error {
        Error::Api(client::Error::Refused { status: 400, message }) => user(message),
        error => error.into(),
    }
}

/// Its end, ms since 1970, if it is done; an error if it will never be.
pub fn done_at_ms(status: &RescaleStatus) -> Result<Option<i64>> {
    match status.state {
        RescaleState::Running => Ok(None),
        RescaleState::Done => {
            let duration_ms = status.duration_ms.context("a rescale that is done has no duration")?;
            Ok(Some(status.requested_at_ms.saturating_add_unsigned(duration_ms)))
        }
        state => bail!("the rescale is {}: {}", state.name(), status.reason.as_deref().unwrap_or("see the job's logs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rescale_that_is_done_has_an_end() {
        let running = RescaleStatus { requested_at_ms: 100, ..RescaleStatus::default() };
        assert_eq!(done_at_ms(&running).unwrap(), None);
        let done = RescaleStatus { state: RescaleState::Done, duration_ms: Some(20), ..running.clone() };
        assert_eq!(done_at_ms(&done).unwrap(), Some(120));
        let failed = RescaleStatus { state: RescaleState::Failed, reason: Some("a worker died".into()), ..running };
        assert_eq!(done_at_ms(&failed).unwrap_err().to_string(), "the rescale is failed: a worker died");
    }
}
