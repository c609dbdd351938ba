//! Golden SQL: one result for every way to run a job.
use anyhow::{Result, ensure};
use millstream_api::wire::RescaleStrategy::{AllAtOnce, Incremental};
use millstream_tests::golden::real::Real;
use millstream_tests::golden::{Case, cases, is_blessing, oracle};
use millstream_tests::sim::{Options, Report, Run};

/// Applies a check to the cases that are `wanted`, at least so many, and fails with all that is wrong.
fn each(wanted: impl Fn(&Case) -> bool, least: usize, check: impl Fn(&Case) -> Result<()>) -> Result<()> {
    let cases: Vec<Case> = cases()?.into_iter().filter(wanted).collect();
    ensure!(cases.len() >= least, "only {} cases", cases.len());
    let run = |case: &Case| check(case).err().map(|error| format!("{}: {error:#}", case.name));
    let wrong: Vec<String> = cases.iter().filter_map(run).collect();
    ensure!(wrong.is_empty(), "{} of {} are wrong\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

fn is_parallel(case: &Case) -> bool {
    case.is_simulated && !case.is_single
}

fn simulate(case: &Case, seed: u64, options: Options) -> Result<Report> {
    let batch_rows = case.batch_rows.unwrap_or(32);
    Ok(Run::new(seed, &case.sql, Options { batch_rows, ..options }).run()?)
}

#[test]
fn straight_at_one_task_a_stage() -> Result<()> {
    each(
        |case| case.is_simulated,
        20,
        |case| {
            let lines = simulate(case, 1, Options::straight())?.lines;
            if is_blessing() {
                case.bless(&lines)?;
            }
            case.check(&lines, "straight")
        },
    )
}

#[test]
fn at_two_tasks_with_checkpoints() -> Result<()> {
    each(is_parallel, 20, |case| {
        let report = simulate(case, 2, Options { checkpoint_interval_ms: Some(3), ..Options::default() })?;
        ensure!(report.epochs > 1, "only the last checkpoint was taken");
        case.check(&report.lines, "at two tasks")
    })
}

#[test]
fn restored_at_three_tasks_in_the_middle() -> Result<()> {
    each(is_parallel, 20, |case| {
        let at = |seed| {
            let options = Options { rescales: vec![(1, 3)], checkpoint_interval_ms: Some(2), ..Options::default() };
            simulate(case, seed, options)
        };
        let report = at(3)?;
        case.check(&report.lines, "restored at three tasks")?;
        ensure!(report.rescales == 1, "{} rescales", report.rescales);
        ensure!(report.moved_state || case.is_stateless, "no group with state was restored at another task");
        Ok(())
    })
}

#[test]
fn rescaled_up_and_down_while_it_runs() -> Result<()> {
    each(is_parallel, 20, |case| {
        let mut moved = false;
        let strategies = [Incremental, AllAtOnce, Incremental, Incremental].into_iter().cycle();
        // Four runs, and as many more as it takes until one of a small input is in the middle of it at the right time.
        for (seed, strategy) in (4..20).zip(strategies) {
            if seed >= 8 && moved {
                break;
            }
            let rescales = vec![(0, 1 + 2 * (seed % 2) as u32), (0, 2), (0, 3), (0, 1)];
            // Small batches make long runs, so that even the smallest input is read in the middle of a rescale.
            let options = Options {
                rescales,
                strategy,
                checkpoint_interval_ms: Some(2),
                batch_rows: 4,
                steps_max: 1_000_000,
                ..Options::default()
            };
            let report = Run::new(seed, &case.sql, options).run()?;
            case.check(&report.lines, &format!("rescaled {strategy:?} with seed {seed}"))?;
            ensure!(report.rescales > 0, "it was not rescaled with seed {seed}");
            moved |= report.rescales > 1 && report.moved_state;
        }
        ensure!(moved || case.is_stateless, "no group with state moved up and down");
        Ok(())
    })
}

fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[test]
fn batch_execution_gives_the_same_rows() -> Result<()> {
    each(
        |case| !case.oracles.is_empty(),
        20,
        |case| {
            let lines = wait(oracle::rows(case))?;
            if is_blessing() && case.keys.is_some() {
                case.bless(&lines)?;
            }
            case.check(&lines, "by batch execution")
        },
    )
}

fn real(case: &Case, options: &[&str]) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    wait(Real::new(case, folder.path())?.run(options))
}

#[test]
fn as_processes_at_one_and_two_tasks() -> Result<()> {
    each(
        |case| case.is_real,
        10,
        |case| {
            let lines = real(case, &["--parallelism", "1"])?;
            if is_blessing() && !case.is_simulated && case.keys.is_none() {
                case.bless(&lines)?;
            }
            case.check(&lines, "as processes at one task")?;
            if case.is_single {
                return Ok(());
            }
            let two = ["--parallelism", "2", "--workers", "2", "--checkpoint-interval", "50ms"];
            case.check(&real(case, &two)?, "as processes at two tasks")
        },
    )
}

#[test]
fn as_processes_restored_at_three_tasks() -> Result<()> {
    each(
        |case| case.is_real && case.batch_rows.is_none(),
        10,
        |case| {
            let folder = tempfile::tempdir()?;
            let lines = wait(Real::new(case, folder.path())?.run_restored())?;
            case.check(&lines, "as processes restored at three tasks")
        },
    )
}
