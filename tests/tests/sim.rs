//! Jobs under a seed: whatever goes wrong, the output is that of a run where nothing does. `MILLSTREAM_SEED=n` replays one
//! seed, `MILLSTREAM_SEEDS=n` sets how many are run; `MILLSTREAM_SIM_TRACE=1` shows all steps of one that fails.
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use millstream_api::wire::RescaleStrategy;
use millstream_tests::sim::{Blow, Failure, Faults, Options, Plant, Report, Run, Strike};

const BID: &str = "CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '0.1' SECOND
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000', 'nexmark.rate' = '30000');";

/// Stateless.
const Q0: &str = "CREATE TABLE out (auction BIGINT, bidder BIGINT, price BIGINT, dateTime TIMESTAMP(3)) WITH (
  'connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'csv');
INSERT INTO out SELECT auction, bidder, price, dateTime FROM bid;";

/// A keyed window aggregate.
const WINDOW: &str = "CREATE TABLE out (window_start TIMESTAMP(3), auction BIGINT, bids BIGINT, highest BIGINT) WITH (
  'connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'json');
INSERT INTO out SELECT window_start, auction, COUNT(*), MAX(price)
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0.5' SECOND, INTERVAL '1' SECOND))
GROUP BY window_start, window_end, auction;";

/// A window join of two aggregates (q8).
const JOIN: &str = "CREATE TABLE person (
  id BIGINT, name STRING, dateTime TIMESTAMP(3), WATERMARK FOR dateTime AS dateTime
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'person', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000', 'nexmark.rate' = '90000');
CREATE TABLE auction (
  seller BIGINT, dateTime TIMESTAMP(3), WATERMARK FOR dateTime AS dateTime
) WITH ('connector' = 'nexmark', 'nexmark.table' = 'auction', 'nexmark.events' = '9000', 'nexmark.event-rate' = '1000', 'nexmark.rate' = '90000');
CREATE TABLE out (id BIGINT, name STRING, starttime TIMESTAMP(3), auctions BIGINT) WITH (
  'connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'csv');
INSERT INTO out SELECT P.id, P.name, P.starttime, A.auctions
FROM (SELECT id, name, window_start AS starttime, window_end AS endtime
  FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(dateTime), INTERVAL '3' SECOND))
  GROUP BY id, name, window_start, window_end) P
JOIN (SELECT seller, window_start AS starttime, window_end AS endtime, COUNT(*) AS auctions
  FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(dateTime), INTERVAL '3' SECOND))
  GROUP BY seller, window_start, window_end) A
ON P.id = A.seller AND P.starttime = A.starttime AND P.endtime = A.endtime;";

/// How many auctions have how many bids: keys come and go with every row. What is wrong here shows in the state that is left.
const COUNTS: &str = "CREATE TABLE counts (bids BIGINT, auctions BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO counts SELECT bids, COUNT(*) FROM (SELECT auction, COUNT(*) AS bids FROM bid GROUP BY auction) GROUP BY bids;";

struct Query {
    name: &'static str,
    sql: String,
    straight: Report,
}

/// The queries with the results they must have.
fn queries() -> Vec<Query> {
    let all = [
        ("q0", format!("{BID}\n{Q0}")),
        ("window", format!("{BID}\n{WINDOW}")),
        ("join", JOIN.to_owned()),
        ("counts", format!("{BID}\n{Q0}\n{COUNTS}")),
    ];
    all.into_iter().map(|(name, sql)| Query::new(name, sql)).collect()
}

impl Query {
    fn new(name: &'static str, sql: String) -> Self {
        let straight =
            Run::new(0, &sql, Options::straight()).run().unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert!(straight.lines.len() > 50, "{name} gives only {} lines", straight.lines.len());
        Self { name, sql, straight }
    }

    fn run(&self, seed: u64, options: Options) -> Result<Report, Failure> {
        let report = Run::new(seed, &self.sql, options).run()?;
        let (bytes, least) = (report.state_bytes, self.straight.state_bytes);
        if report.lines == self.straight.lines && bytes == least {
            return Ok(report);
        }
        if report.lines == self.straight.lines {
            let reason = format!("{}: {bytes} bytes of state are left instead of {least}", self.name);
            return Err(Failure { seed, reason, tail: report.tail });
        }
        let only = |some: &[String], others: &[String]| {
            let found: Vec<_> =
                some.iter().filter(|line| others.binary_search(line).is_err()).take(5).cloned().collect();
            found.join(" | ")
        };
        let (got, want) = (&report.lines, &self.straight.lines);
        let (extra, missing) = (only(got, want), only(want, got));
        let (got, want) = (got.len(), want.len());
        let reason = format!("{}: {got} lines instead of {want}; wrong: {extra}; missing: {missing}", self.name);
        Err(Failure { seed, reason, tail: report.tail })
    }
}

/// Seeds differ in workers and parallelism too.
fn options(seed: u64) -> Options {
    Options {
        workers: 2 + usize::from(seed.is_multiple_of(5)),
        parallelism: 1 + (seed / 3 % 3) as u32,
        // With few slots, no worker can be done without.
        slots: [8, 3, 2][(seed % 3) as usize],
        checkpoint_interval_ms: Some(4),
        // With small windows tasks soon hold as many rows as they may for groups on their way.
        window_bytes: [2048, 32][(seed / 2 % 2) as usize],
        faults: Faults::all(),
        ..Options::default()
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text}")))
}

/// Runs all seeds on two threads; each run is a world of its own.
fn all_seeds<T: Send>(seeds: std::ops::Range<u64>, run: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let next = AtomicU64::new(seeds.start);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = run(seed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((seed, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(seed, _)| *seed);
    done
}

#[test]
fn whatever_goes_wrong_the_output_is_right() {
    let queries = queries();
    let seeds = match number("MILLSTREAM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MILLSTREAM_SEEDS").unwrap_or(300),
    };
    let results = all_seeds(seeds, |seed| {
        let query = &queries[(seed % 4) as usize];
        let caught = std::panic::catch_unwind(|| query.run(seed, options(seed)));
        let failed = |reason: &str| Failure { seed, reason: reason.to_owned(), tail: Vec::new() };
        let report = caught.unwrap_or_else(|_| Err(failed("it panicked; the message is above")))?;
        let replayed = report.replayed_rows(&query.straight);
        Ok::<_, Failure>((report, replayed))
    });
    let (mut faults, mut recoveries, mut rescales, mut adoptions) = (0, 0, 0, 0);
    let (mut epochs, mut replayed, mut moved, mut steps, mut full) = (0, 0, 0, 0, 0);
    let mut failures = Vec::new();
    let count = results.len();
    for (_, result) in results {
        match result {
            Ok((report, again)) => {
                faults += report.faults.total();
                recoveries += report.recoveries;
                rescales += report.rescales;
                adoptions += report.adoptions;
                epochs += report.epochs;
                steps += report.steps;
                replayed += again;
                moved += u32::from(report.moved_state);
                full += u32::from(report.full);
            }
            Err(failure) => failures.push(failure),
        }
    }
    println!(
        "{count} seeds, {steps} steps: {faults} faults, {recoveries} recoveries, {rescales} rescales, {adoptions} adoptions, {epochs} epochs, \
         {replayed} rows replayed, state moved in {moved}, as much held as may be in {full}; {} failed",
        failures.len()
    );
    if let Some(first) = failures.first() {
        let all: Vec<String> = failures.iter().map(|failure| format!("{}: {}", failure.seed, failure.reason)).collect();
        panic!("{}\n{first}", all.join("\n"));
    }
    if count >= 100 {
        assert!(
            recoveries > 100
                && rescales > 50
                && adoptions > 20
                && epochs > 300
                && replayed > 1000
                && moved > 20
                && full > 0,
            "too little happened"
        );
    }
}

#[test]
fn a_seed_gives_the_same_trace_every_time() {
    let queries = queries();
    for seed in 1000..1006 {
        let query = &queries[(seed % 4) as usize];
        let once = query.run(seed, options(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        let twice = query.run(seed, options(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(once, twice, "seed {seed}");
    }
}

#[test]
fn every_way_to_rescale_moves_state_and_changes_nothing() {
    for query in queries() {
        for (strategy, from, to) in [
            (RescaleStrategy::Restart, 2, 3),
            (RescaleStrategy::Incremental, 1, 3),
            (RescaleStrategy::Incremental, 3, 2),
            (RescaleStrategy::AllAtOnce, 2, 3),
            (RescaleStrategy::AllAtOnce, 3, 1),
        ] {
            let rescales = vec![(1, to)];
            let options = Options {
                rescales,
                strategy,
                parallelism: from,
                checkpoint_interval_ms: Some(3),
                ..Options::default()
            };
            let name = format!("{} by {strategy:?} from {from} to {to}", query.name);
            let run = |seed| {
                let report = query.run(seed, options.clone()).unwrap_or_else(|failure| panic!("{name}: {failure}"));
                assert_eq!(report.rescales, 1, "{name}");
                report
            };
            // State is there at most times, not at all.
            let reports: Vec<Report> = (7..10).map(run).collect();
            assert_eq!(reports.iter().any(|report| report.moved_state), query.name != "q0", "{name}");
            // What was in memory is told with what is sent ahead.
            let comes_warm = strategy == RescaleStrategy::Incremental && query.name != "q0";
            assert_eq!(reports.iter().any(|report| report.warmed), comes_warm, "{name}");
        }
    }
}

#[test]
fn a_coordinator_that_dies_while_units_move_is_followed_by_one_that_goes_on() {
    let queries = queries();
    let faults = Faults { kill_coordinator: 4, rescale: 6, ..Faults::default() };
    let seeds = match number("MILLSTREAM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MILLSTREAM_SEEDS").unwrap_or(300) / 3,
    };
    let count = seeds.end - seeds.start;
    let results = all_seeds(seeds, |seed| {
        let options = Options { faults, ..options(seed) };
        queries[1 + (seed % 3) as usize].run(seed, options)
    });
    let (mut adoptions, mut resumptions, mut rescales) = (0, 0, 0);
    for (seed, result) in results {
        let report = result.unwrap_or_else(|failure| panic!("{failure}"));
        adoptions += report.adoptions;
        resumptions += report.resumptions;
        rescales += report.rescales;
        let kills = u64::from(report.faults.kill_coordinator);
        assert_eq!(report.recoveries, kills, "seed {seed}: a coordinator that lived went back");
    }
    println!("{count} seeds: {adoptions} adoptions, {resumptions} with a rescale under way, {rescales} rescales");
    assert!(count < 30 || resumptions > count, "too little happened");
}

#[test]
fn workers_with_time_to_drain_leave_without_a_row_read_again() {
    for (at, query) in queries().into_iter().enumerate() {
        let faults = Faults { drain: 2, ..Faults::default() };
        let (mut drains, mut leaves, mut moved) = (0, 0, false);
        for seed in 0..12 {
            let options = Options { faults, drain_ms: (60_000, 120_000), workers: 3, ..options(seed) };
            let report = query.run(seed, options).unwrap_or_else(|failure| panic!("{}: {failure}", query.name));
            assert_eq!((report.recoveries, report.expired), (0, 0), "{} with seed {seed}", query.name);
            // A worker may drain before the others are there; from a checkpoint, what came behind its barrier is read again.
            let replayed = report.replayed_rows(&query.straight);
            assert!(replayed == 0 || report.leaves > 0, "{} with seed {seed}: {replayed} rows again", query.name);
            drains += report.faults.drain;
            leaves += report.leaves;
            moved |= report.moved_state;
        }
        let seen = format!("{}: {drains} drains, {leaves} by a checkpoint, state moved: {moved}", query.name);
        // Some begin when the input is about to be over: what has read all of it moves no more.
        assert!(drains > 12 && leaves * 5 < drains.into() && moved == (at > 0), "{seen}");
    }
}

/// Processes are back within 5 ms here, and nothing has to be waited for until it is given up, which takes 30 s.
const OVER_WITHIN_MS: u64 = 2_000;

/// Runs seeds until one of them is struck, and gives how long that took.
fn struck(query: &Query, strike: Strike, (from, to): (u32, u32)) -> u64 {
    let name = format!("{} from {from} to {to}, {:?} at {}", query.name, strike.blow, strike.step);
    let run = |seed| {
        // One task of each stage to a worker: each of them is donor, receiver, upstream or downstream.
        let options = Options {
            strike: Some(strike),
            rescales: vec![(1, to)],
            strategy: RescaleStrategy::Incremental,
            parallelism: from,
            workers: 3,
            slots: 1,
            checkpoint_interval_ms: Some(3),
            ..Options::default()
        };
        query.run(seed, options).unwrap_or_else(|failure| panic!("{name}: {failure}")).struck_for_ms
    };
    (0..40).find_map(run).unwrap_or_else(|| panic!("{name}: no seed comes to it"))
}

#[test]
fn a_rescale_is_whole_and_over_in_time_whatever_happens_at_whichever_step() {
    let queries: Vec<Query> = queries().into_iter().filter(|query| query.name != "q0").collect();
    // Splits move when all groups have: there must be something left to read then.
    let long = [WINDOW, Q0].map(|sql| Query::new("long", format!("{}\n{sql}", BID.replace("'3000'", "'6000'"))));
    let workers = || 0..3;
    let blows: Vec<Blow> = [Blow::KillCoordinator, Blow::CutLink, Blow::Cancel]
        .into_iter()
        .chain(workers().flat_map(|worker| [Blow::KillWorker(worker), Blow::CutControl(worker)]))
        .collect();
    let steps = ["extend", "link", "await", "copy", "ready", "flip", "expect", "give", "take", "close"];
    let all: Vec<Strike> =
        steps.iter().flat_map(|step| blows.iter().map(|blow| Strike { step, blow: *blow })).collect();
    let took = all_seeds(0..all.len() as u64, |at| {
        let strike = all[at as usize];
        let way = match strike.step {
            "extend" | "link" => (2, 3),
            "close" => (3, 2),
            _ => [(2, 3), (3, 2)][at as usize % 2],
        };
        let queries = if ["expect", "give", "take", "close"].contains(&strike.step) { &long[..] } else { &queries };
        struck(&queries[at as usize % queries.len()], strike, way)
    });
    let longest = took.iter().map(|(_, ms)| *ms).max().unwrap_or_default();
    println!("{} blows, each over after {longest} ms at most", took.len());
    assert!(longest < OVER_WITHIN_MS, "{took:?}");
}

/// Seeds until the bug is caught.
fn caught_after(query: &Query, plant: Plant) -> Option<(u64, Failure)> {
    let is_of_live_rescales =
        matches!(plant, Plant::MarkerOvertakes | Plant::OpeningTooHigh | Plant::KeepRemoved | Plant::LoseChanges);
    (0..12).find_map(|seed| {
        let faults = Faults { kill_worker: 4, cut_link: 4, ..Faults::default() };
        let window_bytes = Options::default().window_bytes;
        let mut options =
            Options { plant: Some(plant), parallelism: 2, faults, slow_network: true, window_bytes, ..options(seed) };
        if is_of_live_rescales {
            let rescales = vec![(1, 3 - 2 * (seed % 2) as u32)];
            let strategy = RescaleStrategy::Incremental;
            // One task of a stage to a worker: connections are where such a bug is planted.
            options = Options { rescales, strategy, faults: Faults::default(), workers: 3, slots: 1, ..options };
        }
        let caught = std::panic::catch_unwind(|| query.run(seed, options));
        let failed = || Failure { seed, reason: "it panicked".into(), tail: Vec::new() };
        caught.unwrap_or_else(|_| Err(failed())).err().map(|failure| (seed, failure))
    })
}

#[test]
fn planted_bugs_are_caught() {
    // Long enough for both of its keyed stages to move while there is input.
    let counts = Query::new("counts", format!("{}\n{Q0}\n{COUNTS}", BID.replace("'3000'", "'9000'")));
    let window = Query::new("window", format!("{BID}\n{WINDOW}"));
    let plants = [
        Plant::CommitBeforeStored,
        Plant::DropCut,
        Plant::BarrierOvertakes,
        Plant::OldPositions,
        Plant::LoseRows,
        Plant::MarkerOvertakes,
        Plant::OpeningTooHigh,
        Plant::KeepRemoved,
        Plant::LoseChanges,
    ];
    for plant in plants {
        let query = if plant == Plant::KeepRemoved { &counts } else { &window };
        let caught = caught_after(query, plant);
        let Some((seed, failure)) = caught else { panic!("{plant:?} is not caught by 12 seeds") };
        println!("{plant:?} caught by seed {seed}: {}", failure.reason);
    }
}
