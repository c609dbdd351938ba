//! What is measured: options and presets resolved.
use anyhow::Result;

use crate::args::{Batching, Preset, RescaleBenchArgs, State};
use crate::fail::user;
use crate::progress::thousands;

/// Records a source puts in a batch at most.
const BATCH_ROWS: u64 = 4096;
/// A lane between two tasks gathers rows up to a batch: so many rounds of it must fit into the keys, so that no batch has a key
/// twice and every record makes an update of its own.
const BATCHES: u64 = 4;
/// Updates by which a saturation is measured that decides the rate: as many as are offered in this time, if the job takes them.
const SATURATED_S: u64 = 30;
/// Fewer keys make batches that are no more than single rows.
const KEYS_MIN: u64 = 1_000;

/// One job and what is done to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    pub keys: u64,
    pub value_bytes: u64,
    /// Records a second.
    pub rate: u64,
    /// At most half of what the job can do.
    pub half_of_saturation: bool,
    pub from: u32,
    pub to: u32,
    /// A second rescale brings it back.
    pub back: bool,
    pub state: State,
    pub key_groups: u32,
    pub batch: Batching,
    /// Length of the quiet phases.
    pub seconds: u64,
}

/// The scenarios of a command line.
pub fn of(args: &RescaleBenchArgs) -> Result<Vec<Scenario>> {
    let base = Scenario {
        keys: 1_000_000,
        value_bytes: 256,
        rate: 20_000,
        half_of_saturation: false,
        from: 2,
        to: 3,
        back: false,
        state: args.state,
        key_groups: args.key_groups,
        batch: args.batch,
        seconds: 20,
    };
    let presets = match args.preset {
        None => vec![base],
        Some(Preset::Megaphone) => {
            let (keys, value_bytes, rate, from, to) = (64_000_000, 0, 200_000, 3, 4);
            vec![Scenario { keys, value_bytes, rate, half_of_saturation: true, from, to, back: true, ..base }]
        }
        Some(Preset::Flink) => {
            let sized = |keys| {
                let (value_bytes, from, to, seconds) = (64, 1, 2, 60);
                Scenario { keys, value_bytes, from, to, back: true, seconds, ..base.clone() }
            };
            // Both sizes, unless another one is asked for.
            if args.keys.is_some() { vec![sized(0)] } else { vec![sized(1_000_000), sized(10_000_000)] }
        }
    };
    let given = |scenario: Scenario| Scenario {
        keys: args.keys.unwrap_or(scenario.keys),
        value_bytes: args.value_bytes.unwrap_or(scenario.value_bytes),
        rate: args.rate.unwrap_or(scenario.rate),
        from: args.from.unwrap_or(scenario.from),
        to: args.to.unwrap_or(scenario.to),
        seconds: args.seconds.unwrap_or(scenario.seconds),
        ..scenario
    };
    let scenarios: Vec<Scenario> = presets.into_iter().map(given).collect();
    check(args, &scenarios)?;
    Ok(scenarios)
}

fn check(args: &RescaleBenchArgs, scenarios: &[Scenario]) -> Result<()> {
    for scenario in scenarios {
        let Scenario { keys, rate, from, to, key_groups, .. } = scenario;
        if *keys < KEYS_MIN {
            return Err(user(format!("--keys {keys}: give at least {KEYS_MIN}")));
        }
        if *rate == 0 {
            return Err(user("--rate 0: give at least 1 record a second"));
        }
        if from == to || [from, to].into_iter().any(|tasks| *tasks == 0 || tasks > key_groups) {
            let text = format!("--from {from} --to {to}: give two different numbers from 1 to {key_groups}");
            return Err(user(text));
        }
    }
    if args.runs == 0 {
        return Err(user("--runs 0: give at least 1"));
    }
    Ok(())
}

impl Scenario {
    /// Workers, one for each task of the keyed stage there ever is, started before anything is measured.
    pub fn workers(&self) -> u32 {
        self.from.max(self.to)
    }

    /// Records without a due time: one of each key, and then some that update them, by which the job's saturation is measured, if it is
    /// wanted for so long that files of what was updated have to be read and merged, too.
    pub fn untimed(&self) -> u64 {
        let seconds = if self.half_of_saturation { SATURATED_S } else { 4 };
        self.keys + (self.rate * seconds).min(self.keys)
    }

    /// So few that no batch has a key twice.
    pub fn batch_rows(&self) -> u64 {
        (self.keys / (BATCHES * u64::from(self.workers()))).clamp(1, BATCH_ROWS)
    }

    /// Bytes that the entry of a key has in the store: key group, state and key, two counts, a number and the value, with their flags.
    /// Random values have a zero byte in 256, which is written as two.
    pub fn entry_bytes(&self) -> u64 {
        const FIXED: u64 = 4 + 9 + 1 + 1 + 2;
        match self.value_bytes {
            0 => FIXED,
            bytes => FIXED + 5 + u64::from(bytes > 120) + bytes + bytes / 256,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let (keys, rate) = (thousands(self.keys), thousands(self.rate));
        let Self { value_bytes, from, to, .. } = self;
        let back = if self.back { " and back" } else { "" };
        format!("{keys} keys of {value_bytes} bytes, {rate} records/s, {from} tasks to {to}{back}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, BenchCommand, Command};

    fn scenarios(args: &[&str]) -> Result<Vec<Scenario>> {
        let parsed = Args::parse_from(["millstream", "bench", "rescale"].iter().chain(args));
        let Command::Bench(bench) = parsed.command else { panic!("not bench") };
        let BenchCommand::Rescale(args) = bench.command else { panic!("not rescale") };
        of(&args)
    }

    #[test]
    fn presets_can_be_overridden() {
        let flink = scenarios(&["--preset", "flink"]).unwrap();
        let sizes: Vec<_> = flink.iter().map(|scenario| (scenario.keys, scenario.value_bytes, scenario.to)).collect();
        assert_eq!(sizes, [(1_000_000, 64, 2), (10_000_000, 64, 2)]);
        let small = scenarios(&["--preset", "flink", "--keys", "20000", "--seconds", "1"]).unwrap();
        assert_eq!((small.len(), small[0].keys, small[0].rate, small[0].back), (1, 20_000, 20_000, true));
        let megaphone = &scenarios(&["--preset", "megaphone"]).unwrap()[0];
        assert_eq!((megaphone.keys, megaphone.rate, megaphone.workers()), (64_000_000, 200_000, 4));
        assert!(megaphone.half_of_saturation && megaphone.back);
    }

    #[test]
    fn a_batch_never_has_a_key_twice() {
        let scenario = &scenarios(&["--keys", "20000", "--from", "1", "--to", "2"]).unwrap()[0];
        assert_eq!(scenario.batch_rows(), 2_500);
        assert_eq!(scenarios(&[]).unwrap()[0].batch_rows(), 4_096);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (args, message) in [
            (&["--keys", "5"][..], "--keys 5: give at least 1000"),
            (&["--rate", "0"], "--rate 0: give at least 1 record a second"),
            (&["--from", "3"], "--from 3 --to 3: give two different numbers from 1 to 256"),
            (&["--to", "300"], "--from 2 --to 300: give two different numbers from 1 to 256"),
            (&["--runs", "0"], "--runs 0: give at least 1"),
        ] {
            assert_eq!(scenarios(args).unwrap_err().to_string(), message);
        }
    }
}
