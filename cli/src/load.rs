//! From a file to a job: a SQL text or a StreamJob, variables replaced, planned and checked.
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use millstream_api::job::{self, Setting, Settings, Spec, Sql, StreamJob};
use millstream_runtime::job::{JobSpec, Tuning};
use millstream_sql::StageGraph;

use crate::args::FileArgs;
use crate::fail::user;

/// A job that can run.
pub struct Loaded {
    /// As the user described it; a SQL file is a StreamJob with nothing but defaults.
    pub job: StreamJob,
    /// As coordinator and workers are told.
    pub spec: JobSpec,
    /// Planned.
    pub graph: StageGraph,
    /// Resolved settings.
    pub settings: Settings,
}

/// Texts larger than this are no job.
const TEXT_MAX_BYTES: u64 = 1 << 20;

/// Reads, plans and checks a job. Every error is the user's and says where and what to do.
pub fn load(args: &FileArgs) -> Result<Loaded> {
    let (set_variables, set_settings) = split_sets(&args.set)?;
    let text = read(&args.file)?;
    let shown = args.file.display();
    let is_yaml = args.file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let mut job = if is_yaml {
        job::parse_yaml(&text).map_err(|error| user(format!("{shown}: {error}")))?
    } else {
        wrap(&args.file, text)
    };
    for (name, value) in set_settings {
        check_setting(&name, &value).map_err(|why| user(format!("--set {name}={value}: {why}")))?;
        job.spec.settings.retain(|setting| setting.name != name);
        job.spec.settings.push(Setting { name, value });
    }
    check_fields(&job, is_yaml).map_err(|wrong| user(format!("{shown}: {wrong}")))?;
    // What places in the SQL text refer to.
    let mut text_of = shown.to_string();
    let sql = match &job.spec.sql {
        Sql { inline: Some(sql), .. } => {
            if is_yaml {
                text_of.push_str(": spec.sql.inline");
            }
            sql.clone()
        }
        Sql { image_path: Some(path), .. } => {
            text_of.clone_from(path);
            read(Path::new(path))?
        }
        _ => return Err(user(format!("{shown}: spec.sql.configMap: there is no cluster here; use sql.inline"))),
    };
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for (index, variable) in job.spec.variables.iter().enumerate() {
        if !set_variables.contains_key(&variable.name) {
            let path = format!("{shown}: spec.variables[{index}].secretKeyRef");
            let missing = || user(format!("{path}: there is no cluster here; pass --set {}=VALUE", variable.name));
            variables.insert(variable.name.clone(), variable.value.clone().ok_or_else(missing)?);
        }
    }
    variables.extend(set_variables);
    let sql = substitute(&sql, &variables).map_err(|error| user(format!("{text_of}: {error}")))?;
    finish(job, sql, &shown.to_string(), &text_of)
}

/// A job that is nothing but this text, all variables at their defaults.
pub fn from_sql(name: &str, sql: &str) -> Result<Loaded> {
    let job = StreamJob::from_sql(name, sql.to_owned());
    let sql = substitute(sql, &BTreeMap::new()).map_err(|error| user(format!("{name}: {error}")))?;
    finish(job, sql, name, name)
}

/// Whether there is such a setting and it may have this value.
fn check_setting(name: &str, value: &str) -> Result<(), String> {
    let setting = Setting { name: name.to_owned(), value: value.to_owned() };
    let why =
        |errors: Vec<job::FieldError>| errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; ");
    Settings::resolve(&[setting], "").map(drop).map_err(why)
}

/// Bounds of a job's fields and rules across them, those of the resource included. How long inline text may be matters only
/// where it is a field of a resource.
fn check_fields(job: &StreamJob, is_yaml: bool) -> Result<(), String> {
    let Err(invalid) = millstream_api::crd::check(job) else { return Ok(()) };
    let wrong = invalid.errors.iter().filter(|error| is_yaml || error.path != "spec.sql.inline");
    let lines: Vec<String> = wrong.map(ToString::to_string).collect();
    if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
}

fn finish(mut job: StreamJob, sql: String, shown: &str, text_of: &str) -> Result<Loaded> {
    let graph = millstream_sql::plan(&sql, &millstream_sql::PlanOptions::default())
        .map_err(|error| user(format!("{text_of}: {error}")))?;
    for (name, value) in &graph.settings {
        check_setting(name, value).map_err(|why| user(format!("{text_of}: SET '{name}' = '{value}': {why}")))?;
        if !job.spec.settings.iter().any(|setting| setting.name == *name) {
            job.spec.settings.push(Setting { name: name.clone(), value: value.clone() });
        }
    }
    let settings = Settings::resolve(&job.spec.settings, "spec.settings").map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        user(format!("{shown}: {}", lines.join("; ")))
    })?;
    check_stage_names(&job.spec, &settings, &graph).map_err(|error| user(format!("{shown}: {error}")))?;
    crate::check::tables(&graph).map_err(|error| user(format!("{text_of}: {error}")))?;
    let spec = spec(&job, sql, &settings);
    Ok(Loaded { job, spec, graph, settings })
}

fn check_stage_names(spec: &Spec, settings: &Settings, graph: &StageGraph) -> Result<(), String> {
    let names: Vec<&str> = graph.stages.iter().map(|stage| stage.name.as_str()).collect();
    let unknown = |name: &str| !names.contains(&name);
    let there_are = names.join(", ");
    if let Some((index, stage)) = spec.stages.iter().enumerate().find(|(_, stage)| unknown(&stage.name)) {
        return Err(format!("spec.stages[{index}].name: there is no stage {}; the stages are {there_are}", stage.name));
    }
    match settings.stage_records_per_second.keys().find(|name| unknown(name)) {
        Some(name) => Err(format!(
            "spec.settings: task.records-per-second.{name}: there is no stage {name}; the stages are {there_are}"
        )),
        None => Ok(()),
    }
}

/// What coordinator and workers need of a job.
fn spec(job: &StreamJob, sql: String, settings: &Settings) -> JobSpec {
    let spec = &job.spec;
    let own = spec.stages.iter().filter_map(|stage| Some((stage.name.clone(), stage.parallelism?)));
    JobSpec {
        name: job.metadata.name.clone(),
        sql,
        parallelism: spec.parallelism,
        stages: own.collect(),
        key_groups: spec.key_groups,
        checkpoint_interval_ms: Some(spec.checkpoint.interval.ms),
        checkpoint_timeout_ms: spec.checkpoint.timeout.ms,
        checkpoint_keep: spec.checkpoint.keep as usize,
        restart_max_failures: spec.restart.max_failures,
        restart_window_ms: spec.restart.window.ms,
        answer_timeout_ms: settings.worker_answer_timeout.ms,
        state_backend: match spec.state.backend {
            job::Backend::Memory => "memory".to_owned(),
            job::Backend::RocksDB => "rocksdb".to_owned(),
        },
        state_memory_bytes: job::parse_quantity(&spec.state.memory).unwrap_or(256 << 20),
        tuning: Tuning {
            batch_rows: settings.batch_rows,
            window_bytes: usize::try_from(settings.exchange_window_bytes).unwrap_or(usize::MAX),
            op_cache_bytes: usize::try_from(settings.state_cache_bytes).unwrap_or(usize::MAX),
            records_per_second: settings.task_records_per_second,
            stage_records_per_second: settings.stage_records_per_second.clone(),
        },
        table_options: BTreeMap::new(),
        drop_state: spec.upgrade.drop_state.clone(),
    }
}

/// A SQL file as a job: its name is the file's, as far as that makes a valid one.
fn wrap(file: &Path, sql: String) -> StreamJob {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let name = name.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()).trim_end_matches('-');
    let name = if name.is_empty() { "job" } else { name };
    StreamJob::from_sql(name, sql)
}

fn read(file: &Path) -> Result<String> {
    let shown = file.display();
    let cannot = |what: &str| user(format!("{shown}: {what}"));
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => cannot("there is no such file"),
        _ => cannot(&format!("cannot read the file: {error}")),
    };
    let metadata = std::fs::metadata(file).map_err(failed)?;
    if metadata.is_dir() {
        return Err(cannot("is a directory; give a .sql file or a StreamJob .yaml file"));
    }
    if metadata.len() > TEXT_MAX_BYTES {
        return Err(cannot("is larger than 1 MiB; this is no SQL text or StreamJob"));
    }
    let bytes = std::fs::read(file).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        let line = 1 + valid.matches('\n').count();
        let column = 1 + valid[valid.rfind('\n').map_or(0, |newline| newline + 1)..].chars().count();
        cannot(&format!("line {line}, column {column}: is not UTF-8 text; save the file as UTF-8"))
    })
}

type NamedValues = Vec<(String, String)>;

/// `--set` values: names with a dot are settings, the others variables.
fn split_sets(sets: &[String]) -> Result<(BTreeMap<String, String>, NamedValues)> {
    let (mut variables, mut settings) = (BTreeMap::new(), Vec::new());
    for set in sets {
        let parts = set.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = parts.ok_or_else(|| user(format!("--set {set}: write NAME=VALUE")))?;
        if name.contains('.') {
            settings.push((name.to_owned(), value.to_owned()));
        } else {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok((variables, settings))
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$${` is a plain `${`.
fn substitute(sql: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(sql.len()), sql);
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let so_far = &sql[..sql.len() - rest.len() + at];
        let line = 1 + so_far.matches('\n').count();
        let column = 1 + so_far[so_far.rfind('\n').map_or(0, |newline| newline + 1)..].chars().count();
        let place = format!("line {line}, column {column}");
        let end = after.find('}').ok_or_else(|| {
            format!("{place}: `${{` without `}}`; write ${{NAME}} or ${{NAME:-default}}, or $${{ for a plain ${{")
        })?;
        let (name, default) = match after[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&after[..end], None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("{place}: `{name}` is no name of a variable: letters, digits and _"));
        }
        let value = variables.get(name).map(String::as_str).or(default);
        out.push_str(value.ok_or_else(|| format!("{place}: variable {name} is not set; pass --set {name}=VALUE"))?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_or_missed_by_position() {
        let variables = BTreeMap::from([("A".to_owned(), "x".to_owned())]);
        assert_eq!(substitute("'${A}' ${B:-y} ${C:-}", &variables).unwrap(), "'x' y ");
        assert_eq!(
            substitute("a\n ${B}", &variables).unwrap_err(),
            "line 2, column 2: variable B is not set; pass --set B=VALUE"
        );
        assert_eq!(
            substitute("ä${A", &variables).unwrap_err(),
            "line 1, column 2: `${` without `}`; write ${NAME} or ${NAME:-default}, or $${ for a plain ${"
        );
        assert_eq!(substitute("'$${A}' ${A}$$ $${", &variables).unwrap(), "'${A}' x$$ ${");
        assert_eq!(
            substitute("${A} ${B c}", &variables).unwrap_err(),
            "line 1, column 6: `B c` is no name of a variable: letters, digits and _"
        );
    }
}
