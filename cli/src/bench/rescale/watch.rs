//! A running benchmark as its driver sees it: looks at the job at intervals, and takes memory samples meanwhile.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_api::wire::JobState;
use millstream_operator::platform::local::LocalPlatform;
use millstream_operator::platform::{Observed, Platform};
use millstream_runtime::bench::line::{self, Window};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_runtime::workdir::{Outcome, Workdir, read};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::memory::Memory;

/// Time between two looks at the job.
const LOOK: Duration = Duration::from_millis(250);

/// See the module.
pub struct Watch {
    pub platform: LocalPlatform,
    pub clock: SystemClock,
    pub memory: Memory,
    workdir: Workdir,
    /// Where source, sink and driver meet.
    folder: PathBuf,
    looks: Interval,
}

impl Watch {
    pub fn new(platform: LocalPlatform, workdir: &Workdir, folder: &Path) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (workdir, folder, memory) = (workdir.clone(), folder.to_owned(), Memory::default());
        Self { platform, clock: SystemClock::default(), memory, workdir, folder, looks }
    }

    /// What the sink has written down so far.
    pub fn windows(&self) -> Result<Vec<Window>> {
        line::read(&self.folder).with_context(|| format!("cannot read {}", self.folder.display()))
    }

    /// Looks until `found` finds something.
    pub async fn until<T>(&mut self, mut found: impl FnMut(&Self, &Observed) -> Result<Option<T>>) -> Result<T> {
        loop {
            let observed = self.look().await?;
            if let Some(found) = found(self, &observed)? {
                return Ok(found);
            }
        }
    }

    /// Looks until this time, ms since 1970.
    pub async fn until_ms(&mut self, at_ms: i64) -> Result<()> {
        self.until(|watch, _| Ok((watch.clock.now_ms() >= at_ms).then_some(()))).await
    }

    async fn look(&mut self) -> Result<Observed> {
        self.looks.tick().await;
        let observed = self.platform.observe().await.context("the job cannot go on")?;
        self.memory.sample(self.clock.now_ms(), &observed);
        let Some(job) = &observed.job else { return Ok(observed) };
        let error = || job.error.clone().unwrap_or_default();
        if job.state == JobState::Failed {
            bail!("the job failed: {}", error());
        }
        if job.recoveries > 0 {
            bail!("a part of the job died and it went back to a checkpoint, which spoils the measurement: {}", error());
        }
        Ok(observed)
    }

    /// Waits for the end of the job, whose input has been ended.
    pub async fn end(&mut self) -> Result<()> {
        let path = self.workdir.outcome_file();
        self.until(|_, _| Ok(path.exists().then_some(()))).await?;
        let outcome: Outcome = read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match outcome.job.state {
            JobState::Completed => Ok(()),
            _ => bail!("the job did not come to its end: {}", outcome.job.error.unwrap_or_default()),
        }
    }
}
