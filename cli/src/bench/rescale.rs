//! What a rescale does to a job with state: real processes, checkpoints on, records offered on schedule whatever happens.
use anyhow::{Context, Result, ensure};

use crate::args::{RescaleBenchArgs, Strategy};
use crate::progress::thousands;

mod ask;
mod copy;
mod job;
mod memory;
mod phases;
mod report;
mod scenario;
mod svg;
mod table;
mod watch;

use report::{Figures, Trace};

/// Measures every scenario with every strategy asked for.
pub fn bench(args: &RescaleBenchArgs) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("note: this is not a release build; its figures say little");
    }
    let scenarios = scenario::of(args)?;
    let strategies: Vec<Strategy> = if args.compare { Strategy::ALL.to_vec() } else { vec![args.strategy] };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut all, mut traces): (Vec<Figures>, Vec<Trace>) = (Vec::new(), Vec::new());
    for scenario in &scenarios {
        for (strategy, run) in strategies.iter().flat_map(|strategy| (0..args.runs).map(move |run| (*strategy, run))) {
            eprintln!("{}: {}, run {} of {}", strategy.name(), scenario.text(), run + 1, args.runs);
            let (figures, trace) = runtime.block_on(phases::measure(scenario, strategy))?;
            for figures in &figures {
                crate::say::line(&if args.json { serde_json::to_string(figures)? } else { text(figures) })?;
            }
            all.extend(figures);
            // One run of each is drawn.
            if run == 0 {
                traces.push(trace);
            }
        }
    }
    if args.compare || args.runs > 1 {
        let table = table::medians(&all);
        // Only objects on stdout.
        if args.json { eprint!("{table}") } else { crate::say::print(&table)? }
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, svg::draw(&traces)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let is_wrong = |figures: &&Figures| figures.lost + figures.duplicated + figures.reordered > 0;
    let wrong = all.iter().filter(is_wrong).count();
    ensure!(wrong == 0, "{wrong} of {} rescales lost, doubled or reordered records: a bug", all.len());
    Ok(())
}

fn text(figures: &Figures) -> String {
    let Figures { strategy, from, to, duration_ms, latency_ms, output_gap_ms_max, .. } = figures;
    let (before, during) = (&latency_ms.before, &latency_ms.during);
    format!(
        "{strategy} {from} -> {to}: {duration_ms} ms, {} bytes of {} moved; latency p99 {} max {} ms before, p99 {} max {} ms \
         during; longest time without output {} ms before, {} ms during; {} lost, {} duplicated, {} reordered",
        thousands(figures.bytes_moved),
        thousands(figures.state_bytes),
        before.p99,
        before.max,
        during.p99,
        during.max,
        output_gap_ms_max.before,
        output_gap_ms_max.during,
        figures.lost,
        figures.duplicated,
        figures.reordered,
    )
}
