//! What has arrived on the channels of a task: watermarks, barriers, ends. Pure.
//!
//! The combined watermark is the least of all channels that are neither idle nor ended. A cut is due when every channel has
//! delivered the barrier or has ended (an ended channel counts as having delivered every later barrier).
use millstream_api::id::Epoch;

#[derive(Debug, Clone)]
struct Channel {
    watermark_ms: i64,
    idle: bool,
    ended: bool,
    barrier: Option<Epoch>,
}

/// What a barrier means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// Late, or of an epoch given up.
    Ignore,
    /// Read this channel no further until the others have delivered theirs.
    Block,
    /// All have: cut now, then read all channels again.
    Aligned(Epoch),
}

/// What has changed for the watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    None,
    /// It has grown to this.
    Watermark(i64),
    /// No channel has input for now.
    Idle,
}

/// The channels of one task.
#[derive(Debug)]
pub struct Inputs {
    channels: Vec<Channel>,
    watermark_ms: i64,
    idle: bool,
    triggered: Option<Epoch>,
    settled: Epoch,
}

impl Inputs {
    /// Channels that have delivered nothing yet. Epochs up to `settled` are over.
    pub fn new(channels: usize, settled: Epoch) -> Self {
        let channel = Channel { watermark_ms: i64::MIN, idle: false, ended: false, barrier: None };
        Self { channels: vec![channel; channels], watermark_ms: i64::MIN, idle: false, triggered: None, settled }
    }

    /// Rows end idleness.
    pub fn rows(&mut self, channel: usize) {
        self.channels[channel].idle = false;
        self.idle = false;
    }

    /// A channel's watermark has grown.
    pub fn watermark(&mut self, channel: usize, watermark_ms: i64) -> Progress {
        let entry = &mut self.channels[channel];
        entry.idle = false;
        entry.watermark_ms = entry.watermark_ms.max(watermark_ms);
        self.combine()
    }

    /// A channel has no input for now.
    pub fn idle(&mut self, channel: usize) -> Progress {
        self.channels[channel].idle = true;
        self.combine()
    }

    /// A channel has ended.
    pub fn end(&mut self, channel: usize) -> Progress {
        self.channels[channel].ended = true;
        self.combine()
    }

    /// Whether all channels have.
    pub fn all_ended(&self) -> bool {
        self.channels.iter().all(|channel| channel.ended)
    }

    fn combine(&mut self) -> Progress {
        let waited_for = self.channels.iter().filter(|channel| !channel.idle && !channel.ended);
        match waited_for.map(|channel| channel.watermark_ms).min() {
            Some(least) if least > self.watermark_ms => {
                self.watermark_ms = least;
                self.idle = false;
                Progress::Watermark(least)
            }
            Some(_) => Progress::None,
            None if self.all_ended() || self.idle => Progress::None,
            None => {
                self.idle = true;
                Progress::Idle
            }
        }
    }

    /// A barrier has arrived on a channel.
    pub fn barrier(&mut self, channel: usize, epoch: Epoch) -> Alignment {
        if epoch <= self.settled {
            return Alignment::Ignore;
        }
        self.channels[channel].barrier = Some(epoch);
        self.aligned().map_or(Alignment::Block, Alignment::Aligned)
    }

    /// The coordinator has asked for a cut; only matters once every channel has ended.
    pub fn trigger(&mut self, epoch: Epoch) {
        if epoch > self.settled {
            self.triggered = Some(epoch);
        }
    }

    /// The epoch to cut now, if every channel agrees. The caller then calls `cut`.
    pub fn aligned(&self) -> Option<Epoch> {
        let seen = self.channels.iter().filter_map(|channel| channel.barrier).max();
        let epoch = if self.all_ended() { seen.or(self.triggered)? } else { seen? };
        let arrived = |channel: &Channel| channel.ended || channel.barrier == Some(epoch);
        (epoch > self.settled && self.channels.iter().all(arrived)).then_some(epoch)
    }

    /// The cut of this epoch is taken, or it is given up: its barriers count no more.
    pub fn settle(&mut self, epoch: Epoch) {
        self.settled = self.settled.max(epoch);
        for channel in &mut self.channels {
            channel.barrier = channel.barrier.filter(|barrier| *barrier > epoch);
        }
        self.triggered = self.triggered.filter(|triggered| *triggered > epoch);
    }

    /// Channels to leave unread: those that have delivered a barrier the others have not.
    pub fn blocked(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.channels.len()).filter(|index| self.channels[*index].barrier.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_waits_for_every_channel_that_has_not_ended() {
        let mut inputs = Inputs::new(3, 4);
        assert_eq!(inputs.barrier(0, 4), Alignment::Ignore, "epoch 4 is over");
        assert_eq!(inputs.barrier(0, 5), Alignment::Block);
        assert_eq!(inputs.barrier(2, 5), Alignment::Block);
        assert_eq!(inputs.blocked().collect::<Vec<_>>(), [0, 2]);
        inputs.end(1);
        assert_eq!(inputs.aligned(), Some(5), "an ended channel counts as having delivered it");
        inputs.settle(5);
        assert_eq!(inputs.aligned(), None);
        assert_eq!(inputs.blocked().count(), 0);
    }

    #[test]
    fn once_all_have_ended_the_trigger_alone_decides() {
        let mut inputs = Inputs::new(2, 0);
        inputs.trigger(7);
        assert_eq!(inputs.aligned(), None, "channels still deliver barriers");
        inputs.end(0);
        inputs.end(1);
        assert_eq!(inputs.aligned(), Some(7));
        inputs.settle(7);
        inputs.trigger(7);
        assert_eq!(inputs.aligned(), None, "a trigger repeated is nothing new");
    }

    #[test]
    fn an_epoch_given_up_releases_its_channels() {
        let mut inputs = Inputs::new(2, 0);
        assert_eq!(inputs.barrier(0, 1), Alignment::Block);
        inputs.settle(1);
        assert_eq!(inputs.blocked().count(), 0);
        assert_eq!(inputs.barrier(1, 1), Alignment::Ignore, "its late barrier means nothing");
        assert_eq!(inputs.barrier(1, 2), Alignment::Block);
        assert_eq!(inputs.barrier(0, 2), Alignment::Aligned(2));
    }

    #[test]
    fn the_watermark_is_the_least_of_those_waited_for() {
        let mut inputs = Inputs::new(3, 0);
        assert_eq!(inputs.watermark(0, 10), Progress::None);
        assert_eq!(inputs.watermark(1, 20), Progress::None);
        assert_eq!(inputs.idle(2), Progress::Watermark(10));
        assert_eq!(inputs.watermark(0, 5), Progress::None, "never back");
        inputs.rows(2);
        assert_eq!(inputs.watermark(0, 30), Progress::None, "channel 2 is waited for again");
        assert_eq!(inputs.end(2), Progress::Watermark(20));
        assert_eq!(inputs.end(1), Progress::Watermark(30));
        assert_eq!(inputs.idle(0), Progress::Idle);
        assert_eq!(inputs.idle(0), Progress::None, "said once");
        assert_eq!(inputs.end(0), Progress::None);
        assert!(inputs.all_ended());
    }
}
