//! What a user is told about a mistake, word for word, by the real binary: one text on stderr, exit code 2, and nothing else.
//!
//! There is no case of a port in use: no port can be chosen, every process takes a free one.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use millstream_runtime::workdir::Workdir;
use millstream_tests::process::{Done, Job, binary};

/// What the job's file holds.
enum Content {
    /// Nothing is there.
    Gone,
    /// A folder is there.
    Folder,
    /// This text.
    Text(&'static str),
    /// The tables, and this text after them. `@...@` is made long, or wrong, by `bytes`.
    Sql(&'static str),
    /// The StreamJob, with these parts replaced.
    Job(&'static [(&'static str, &'static str)]),
}
use Content::{Folder, Gone, Job as Yaml, Sql, Text};

const TABLES: &str = "\
CREATE TABLE bid (auction BIGINT, price BIGINT, dateTime TIMESTAMP(3), WATERMARK FOR dateTime AS dateTime - INTERVAL '4' SECOND)
WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '1000');
CREATE TABLE out (auction BIGINT, price BIGINT) WITH ('connector' = 'print');
";

const JOB: &str = "\
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata:
  name: first
spec:
  sql:
    inline: |
      CREATE TABLE bid (price BIGINT) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '${EVENTS}');
      CREATE TABLE dear (price BIGINT) WITH ('connector' = 'print');
      INSERT INTO dear SELECT price FROM bid WHERE price > 90000000;
  variables:
    - name: EVENTS
      value: \"1000\"
  parallelism: 2
";

/// What, file, content, more arguments, all of stderr after `error: `; `@HERE@` is the folder.
type Case = (&'static str, &'static str, Content, &'static [&'static str], &'static str);

/// The same from `validate` and `run`.
#[rustfmt::skip]
const MISTAKES: &[Case] = &[
    ("a wrong statement", "job.sql", Sql("SELEC auction FROM bid;"), &[], "job.sql: line 4, column 1: unknown statement \"SELEC\"\n  help: statements: CREATE TABLE, CREATE VIEW, INSERT INTO ... SELECT, SET 'key' = 'value'"),
    ("a misspelt clause", "job.sql", Sql("INSERT INTO out SELECT auction, price FORM bid;"), &[], "job.sql: line 4, column 44: expected the end of the statement, found \"bid\"\n  help: statements are separated by \";\""),
    ("an unknown column", "job.sql", Sql("INSERT INTO out\nSELECT auction, pric FROM bid;"), &[], "job.sql: line 5, column 17: unknown column \"pric\"\n  help: did you mean \"price\"?"),
    ("an unknown table", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bids;"), &[], "job.sql: line 4, column 44: unknown table \"bids\"\n  help: did you mean \"bid\"?"),
    ("an unknown function", "job.sql", Sql("INSERT INTO out SELECT auction, uper(price) FROM bid;"), &[], "job.sql: line 4, column 33: unknown function \"uper\"\n  help: did you mean \"upper\"?"),
    ("a type that does not fit", "job.sql", Sql("INSERT INTO out SELECT auction, CAST(price AS STRING) FROM bid;"), &[], "job.sql: line 4, column 13: column \"price\" of table \"out\" is of type BIGINT, but the query gives STRING (\"bid.price\")\n  help: write CAST(... AS BIGINT) in the query"),
    ("too few columns", "job.sql", Sql("INSERT INTO out SELECT auction FROM bid;"), &[], "job.sql: line 4, column 13: the query has 1 column, table \"out\" takes 2\n  help: columns: auction BIGINT, price BIGINT"),
    ("a table declared twice", "job.sql", Sql("CREATE TABLE bid (a INT) WITH ('connector' = 'print');\nINSERT INTO out SELECT auction, price FROM bid;"), &[], "job.sql: line 4, column 14: \"bid\" is declared twice\n  help: line 1 declares a table of this name; rename one of them"),
    ("no INSERT", "job.sql", Sql(""), &[], "job.sql: line 3, column 1: the text has no INSERT INTO, so there is nothing to run\n  help: end it with INSERT INTO table SELECT ..."),
    ("an unknown connector", "job.sql", Sql("CREATE TABLE o (a BIGINT) WITH ('connector' = 'prin');\nINSERT INTO o SELECT auction FROM bid;"), &[], "job.sql: line 4, column 14: table \"o\": there is no connector 'prin', did you mean 'print'? (connectors that can be written: blackhole, filesystem, print)"),
    ("a connector that only reads", "job.sql", Sql("CREATE TABLE o (a BIGINT) WITH ('connector' = 'datagen');\nINSERT INTO o SELECT auction FROM bid;"), &[], "job.sql: line 4, column 14: table \"o\": connector 'datagen' cannot be written (connectors that can: blackhole, filesystem, print)"),
    ("no connector", "job.sql", Sql("CREATE TABLE o (a BIGINT);\nINSERT INTO o SELECT auction FROM bid;"), &[], "job.sql: line 4, column 14: table \"o\" has no 'connector'\n  help: add WITH ('connector' = '...') to it"),
    ("an unknown option", "job.sql", Sql("CREATE TABLE o (a BIGINT) WITH ('connector' = 'print', 'print-identifer' = 'x');\nINSERT INTO o SELECT auction FROM bid;"), &[], "job.sql: line 4, column 14: table \"o\": connector 'print' has no option 'print-identifer', did you mean 'print-identifier'? (its options: print-identifier)"),
    ("a wrong option value", "job.sql", Sql("CREATE TABLE b (auction BIGINT) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bids');\nINSERT INTO out SELECT auction, auction FROM b;"), &[], "job.sql: line 4, column 14: table \"b\": option 'nexmark.table' = 'bids': expected 'person' or 'auction' or 'bid' or 'all'"),
    ("a missing option", "job.sql", Sql("CREATE TABLE f (a BIGINT) WITH ('connector' = 'filesystem', 'path' = 'out');\nINSERT INTO f SELECT auction FROM bid;"), &[], "job.sql: line 4, column 14: table \"f\": option 'format' is missing: add 'format' = 'csv' or 'json' to its WITH clause"),
    ("an unknown column of a generator", "job.sql", Sql("CREATE TABLE b (auktion BIGINT) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid');\nINSERT INTO out SELECT auktion, auktion FROM b;"), &[], "job.sql: line 4, column 14: table \"b\": column \"auktion\": a nexmark 'bid' table has only auction, bidder, price, channel, url, extra, dateTime"),
    ("a file to read that is missing", "job.sql", Sql("CREATE TABLE f (a BIGINT) WITH ('connector' = 'filesystem', 'path' = 'none.csv', 'format' = 'csv');\nINSERT INTO out SELECT a, a FROM f;"), &[], "job.sql: line 4, column 14: table \"f\": option 'path': cannot read '@HERE@/none.csv': no such file or folder"),
    ("a file where a folder should be", "job.sql", Sql("CREATE TABLE f (a BIGINT) WITH ('connector' = 'filesystem', 'path' = 'job.sql/out', 'format' = 'csv');\nINSERT INTO f SELECT auction FROM bid;"), &[], "job.sql: line 4, column 14: table \"f\": option 'path' = 'job.sql/out': expected a folder, but '@HERE@/job.sql' is a file"),
    ("an updating stream into files", "job.sql", Sql("CREATE TABLE f (a BIGINT, n BIGINT) WITH ('connector' = 'filesystem', 'path' = 'out', 'format' = 'csv');\nINSERT INTO f SELECT auction, COUNT(*) FROM bid GROUP BY auction;"), &[], "job.sql: line 4, column 14: table \"f\": its filesystem connector only takes inserts, and stage aggregate-1 updates rows it has emitted; aggregate by window, or write to a connector that takes updates (print, blackhole)"),
    ("a window of no length", "job.sql", Sql("INSERT INTO out SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0' SECOND))\nGROUP BY window_start, window_end;"), &[], "job.sql: line 4, column 96: the size of a window must be positive, not 0 ms\n  help: write for example INTERVAL '10' SECOND"),
    ("100,000 brackets", "job.sql", Sql("INSERT INTO out SELECT auction, @OPEN@price@CLOSE@ FROM bid;"), &[], "job.sql: line 4, column 96: this nests more than 64 levels deep\n  help: move inner parts into a view"),
    ("a long chain of AND", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid WHERE price > 1@AND@;"), &[], "job.sql: line 4, column 4260: this expression nests too deep: more than 600 operators depend on each other\n  help: use IN (...) or split it over several views"),
    ("a NUL byte", "job.sql", Sql("INSERT INTO out SEL\0ECT auction, price FROM bid;"), &[], "job.sql: line 4, column 20: the text contains a NUL byte\n  help: is this file SQL text in UTF-8?"),
    ("bytes that are no text", "job.sql", Sql("-- caf@LATIN@\nINSERT INTO out SELECT auction, price FROM bid;"), &[], "job.sql: line 4, column 7: is not UTF-8 text; save the file as UTF-8"),
    ("an unknown setting", "job.sql", Sql("SET 'batch.rowz' = '2';\nINSERT INTO out SELECT auction, price FROM bid;"), &[], "job.sql: SET 'batch.rowz' = '2': unknown setting `batch.rowz`; did you mean `batch.rows`?"),
    ("a variable that is not set", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid WHERE price > ${LEAST};"), &[], "job.sql: line 4, column 62: variable LEAST is not set; pass --set LEAST=VALUE"),
    ("a variable without end", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid WHERE price > ${LEAST;"), &[], "job.sql: line 4, column 62: `${` without `}`; write ${NAME} or ${NAME:-default}, or $${ for a plain ${"),
    ("--set without =", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--set", "FOO"], "--set FOO: write NAME=VALUE"),
    ("--set of an unknown setting", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--set", "batch.rowz=1"], "--set batch.rowz=1: unknown setting `batch.rowz`; did you mean `batch.rows`?"),
    ("--set of a wrong value", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--set", "batch.rows=none"], "--set batch.rows=none: `none` of batch.rows must be a whole number of at least 1"),
    ("an empty file", "job.sql", Text(""), &[], "job.sql: the text holds no statement\n  help: a job needs CREATE TABLE and INSERT INTO"),
    ("a file of comments", "job.sql", Text("-- nothing yet\n"), &[], "job.sql: the text holds no statement\n  help: a job needs CREATE TABLE and INSERT INTO"),
    ("a missing file", "job.sql", Gone, &[], "job.sql: there is no such file"),
    ("a directory", "job.sql", Folder, &[], "job.sql: is a directory; give a .sql file or a StreamJob .yaml file"),
    ("no YAML", "job.yaml", Text("kind: [StreamJob\n"), &[], "job.yaml: line 1, column 7: kind: expected string scalar"),
    ("an empty YAML file", "job.yaml", Text(""), &[], "job.yaml: line 1, column 1: the text ends where a StreamJob should be"),
    ("another kind", "job.yaml", Yaml(&[("kind: StreamJob", "kind: StreamJb")]), &[], "job.yaml: kind: `StreamJb` is not known; write StreamJob"),
    ("an unknown field", "job.yaml", Yaml(&[("  parallelism: 2", "  paralelism: 2")]), &[], "job.yaml: line 14, column 3: spec: unknown field `paralelism`; did you mean `parallelism`?"),
    ("a wrong type", "job.yaml", Yaml(&[("parallelism: 2", "parallelism: two")]), &[], "job.yaml: line 14, column 16: spec.parallelism: expected a whole number that is not negative"),
    ("wrong indentation", "job.yaml", Yaml(&[("  parallelism: 2", " parallelism: 2")]), &[], "job.yaml: line 14, column 2: while parsing a block mapping, did not find expected key"),
    ("parallelism 0", "job.yaml", Yaml(&[("parallelism: 2", "parallelism: 0")]), &[], "job.yaml: spec.parallelism: 0 must be at least 1"),
    ("an unknown stage", "job.yaml", Yaml(&[("  parallelism: 2", "  parallelism: 2\n  stages:\n    - name: windw-1\n      parallelism: 3")]), &[], "job.yaml: spec.stages[0].name: there is no stage windw-1; the stages are bid"),
    ("a mistake in inline SQL", "job.yaml", Yaml(&[("SELECT price", "SELECT pric")]), &[], "job.yaml: spec.sql.inline: line 3, column 25: unknown column \"pric\"\n  help: did you mean \"price\"?"),
    ("an unknown setting", "job.yaml", Yaml(&[("  parallelism: 2", "  settings:\n    - name: batch.rowz\n      value: \"1\"")]), &[], "job.yaml: spec.settings[0].name: unknown setting `batch.rowz`; did you mean `batch.rows`?"),
];

/// From `run` alone.
#[rustfmt::skip]
const RUN_MISTAKES: &[Case] = &[
    ("parallelism 0", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--parallelism", "0"], "--parallelism 0: give a number from 1 to 256, the job's key groups"),
    ("more tasks than key groups", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--parallelism", "257"], "--parallelism 257: give a number from 1 to 256, the job's key groups"),
    ("no worker", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--workers", "0"], "--workers 0: a job needs at least one worker"),
    ("no time between checkpoints", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--checkpoint-interval", "0s"], "--checkpoint-interval 0s: write a duration above 0 such as 2s or 500ms"),
    ("no duration", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--checkpoint-interval", "soon"], "--checkpoint-interval soon: write a duration above 0 such as 2s or 500ms"),
    ("a file as work folder", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--workdir", "job.sql"], "--workdir @HERE@/job.sql: cannot use the folder: Not a directory (os error 20); give a folder that can be written"),
    ("a work folder in a file", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--workdir", "job.sql/work"], "--workdir @HERE@/job.sql/work: cannot use the folder: Not a directory (os error 20); give a folder that can be written"),
    ("a checkpoint that is missing", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--restore", "none.json"], "--restore none.json: there is no such checkpoint; `millstream job checkpoints` prints the paths of a running job"),
    ("a file that is no checkpoint", "job.sql", Sql("INSERT INTO out SELECT auction, price FROM bid;"), &["--restore", "job.sql"], "--restore job.sql: is not the path of a checkpoint: it ends in manifests/EPOCH-TERM.json"),
    ("a malformed record", "job.sql", Sql("CREATE TABLE f (a BIGINT, b BIGINT) WITH ('connector' = 'filesystem', 'path' = 'bad.csv', 'format' = 'csv', 'csv.header' = 'true');\nINSERT INTO out SELECT a, b FROM f;"), &[], "table \"f\": @HERE@/bad.csv, line 3: column \"b\": 'x' is not a BIGINT (mend the record, or set 'on-error' to 'skip' or 'dead-letter')"),
    ("a short record", "job.sql", Sql("CREATE TABLE f (a BIGINT, b BIGINT) WITH ('connector' = 'filesystem', 'path' = 'short.csv', 'format' = 'csv');\nINSERT INTO out SELECT a, b FROM f;"), &[], "table \"f\": @HERE@/short.csv, line 2: 1 fields where 2 are expected (mend the record, or set 'on-error' to 'skip' or 'dead-letter')"),
    ("a record that is no JSON", "job.sql", Sql("CREATE TABLE f (a BIGINT) WITH ('connector' = 'filesystem', 'path' = 'bad.json', 'format' = 'json');\nINSERT INTO out SELECT a, a FROM f;"), &[], "table \"f\": @HERE@/bad.json, line 2: not a JSON object: expected a value at character 7 (mend the record, or set 'on-error' to 'skip' or 'dead-letter')"),
];

fn bytes(content: &Content) -> Option<Vec<u8>> {
    let text = match content {
        Gone | Folder => return None,
        Text(text) => (*text).to_owned(),
        Sql(text) => format!("{TABLES}{text}"),
        Yaml(changes) => changes.iter().fold(JOB.to_owned(), |job, (from, to)| {
            assert!(job.contains(from), "{from}");
            job.replace(from, to)
        }),
    };
    let text = text.replace("@OPEN@", &"(".repeat(100_000)).replace("@CLOSE@", &")".repeat(100_000));
    let text = text.replace("@AND@", &" AND price > 1".repeat(40_000)).into_bytes();
    match text.windows(7).position(|window| window == b"@LATIN@") {
        Some(at) => Some([&text[..at], &[0xe9], &text[at + 7..]].concat()),
        None => Some(text),
    }
}

/// Runs a command in a folder.
fn command(folder: &Path, args: &[&str]) -> Result<Done> {
    let output = Command::new(binary()?).args(args).current_dir(folder).stdin(Stdio::null()).output()?;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    for word in ["panicked", "RUST_BACKTRACE", "stack backtrace", "overflowed its stack"] {
        ensure!(!stderr.contains(word), "{args:?}: {stderr}");
    }
    Ok(Done { status: output.status, stdout, stderr })
}

/// A folder with the files that the cases speak of.
fn folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("bad.csv"), "a,b\n1,2\n3,x\n")?;
    fs::write(folder.path().join("short.csv"), "1,2\n3\n")?;
    fs::write(folder.path().join("bad.json"), "{\"a\": 1}\n{\"a\": \n")?;
    Ok(folder)
}

/// What is wrong with what a command says about a mistake, if anything.
fn told(verb: &str, (what, file, content, args, expected): &Case) -> Result<Option<String>> {
    let folder = folder()?;
    let path = folder.path().join(file);
    match bytes(content) {
        Some(bytes) => fs::write(&path, bytes)?,
        None if matches!(content, Folder) => fs::create_dir(&path)?,
        None => {}
    }
    let done = command(folder.path(), &[&[verb, file], *args].concat())?;
    let here = folder.path().canonicalize()?.display().to_string();
    let expected = format!("error: {}\n", expected.replace("@HERE@", &here));
    // A job that got as far as running may have told of its progress before.
    let said: Vec<&str> = done.stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    let is_right =
        said == expected.lines().collect::<Vec<_>>() && done.stdout.is_empty() && done.status.code() == Some(2);
    let wrong = || format!("{verb}, {what}: {}\n{}{}expected\n{expected}", done.status, done.stdout, done.stderr);
    Ok((!is_right).then(wrong))
}

fn check(verb: &str, cases: &[Case]) -> Result<()> {
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(told(verb, case).with_context(|| format!("{verb}, {}", case.0))?);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn validate_tells_every_mistake() -> Result<()> {
    check("validate", MISTAKES)
}

#[test]
fn run_tells_every_mistake() -> Result<()> {
    check("run", MISTAKES)?;
    check("run", RUN_MISTAKES)
}

#[test]
fn explain_tells_mistakes_as_validate_does() -> Result<()> {
    check("explain", &MISTAKES[..4])
}

#[test]
fn the_tables_and_the_job_of_the_cases_are_right() -> Result<()> {
    let folder = folder()?;
    fs::write(folder.path().join("job.yaml"), JOB)?;
    fs::write(folder.path().join("job.sql"), format!("{TABLES}INSERT INTO out SELECT auction, price FROM bid;"))?;
    for (file, said) in [
        ("job.sql", "job.sql is valid: job job, stages bid\n"),
        ("job.yaml", "job.yaml is valid: job first, stages bid\n"),
    ] {
        let done = command(folder.path(), &["validate", file])?.success()?;
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), (said, ""));
    }
    let done = command(folder.path(), &["validate", "job.yaml", "--json"])?.success()?;
    let found: serde_json::Value = serde_json::from_str(done.stdout.trim_end())?;
    assert_eq!((&found["valid"], &found["job"]), (&true.into(), &"first".into()));
    Ok(())
}

/// A csv file without header names no column: they are found by their place among all that are declared.
#[test]
fn columns_that_nobody_reads_keep_their_place() -> Result<()> {
    let folder = folder()?;
    fs::write(folder.path().join("rows.csv"), "1,a,10\n2,b,20\n3,c,30\n")?;
    let sql = "CREATE TABLE rows (id BIGINT, name STRING, amount BIGINT)\n\
               WITH ('connector' = 'filesystem', 'path' = 'rows.csv', 'format' = 'csv');\n\
               CREATE TABLE out (amount BIGINT, net DECIMAL(23, 3)) WITH ('connector' = 'print');\n\
               INSERT INTO out SELECT amount, 0.908 * amount FROM rows;";
    fs::write(folder.path().join("job.sql"), sql)?;
    let done = command(folder.path(), &["run", "job.sql"])?.success()?;
    let mut rows: Vec<&str> = done.stdout.lines().collect();
    rows.sort_unstable();
    assert_eq!(rows, ["+I[10, 9.080]", "+I[20, 18.160]", "+I[30, 27.240]"]);
    assert!(
        done.stderr.ends_with("completed: 3 rows read, 0 late, 0 malformed, last checkpoint 1\n"),
        "{}",
        done.stderr
    );
    Ok(())
}

#[tokio::test]
async fn a_checkpoint_with_state_that_has_no_place_is_refused() -> Result<()> {
    let folder = folder()?;
    let text = |value: &str| format!("{TABLES}INSERT INTO out SELECT auction, {value} FROM bid GROUP BY auction;");
    for (name, value) in [("one", "COUNT(*)"), ("behind", "COUNT(*) + 1"), ("two", "MAX(price)")] {
        fs::write(folder.path().join(format!("{name}.sql")), text(value))?;
    }
    let job = "apiVersion: millstream.dev/v1alpha1\nkind: StreamJob\nmetadata: {name: given}\nspec:\n  upgrade: {dropState: \
               [aggregate-1.group-aggregate]}\n  sql:\n    inline: |\n      ";
    fs::write(folder.path().join("given.yaml"), format!("{job}{}", text("MAX(price)").replace('\n', "\n      ")))?;
    let file = folder.path().join("one.sql");
    let mut job = Job::start(&folder.path().join("run"), &[&file.to_string_lossy()])?;
    job.end(std::time::Duration::from_secs(60)).await?.success()?;
    let checkpoint = job.outcome()?.job.checkpoint.context("no checkpoint")?;
    let (path, epoch) = (checkpoint.path, checkpoint.epoch);
    let why = format!(
        "state of checkpoint {epoch} has no place in this job: aggregate-1.group-aggregate/accumulators (it, or what comes \
         before it, is another one now); leave these parts of the SQL as they were, or give their state up: \
         upgrade.dropState: [aggregate-1.group-aggregate]"
    );
    let done = command(folder.path(), &["run", "two.sql", "--restore", &path])?;
    assert_eq!((done.status.code(), done.stdout.as_str()), (Some(2), ""));
    assert_eq!(done.stderr, format!("error: --restore {path}: {why}\n"));

    // The same beforehand, by the checkpoint's path and by the job's folder.
    let newest = path.rsplit_once("/manifests/").context("no folder")?.0;
    let kept = "state kept: bid.source, aggregate-1.group-aggregate; dropped: none; new: none";
    let given = "state kept: bid.source; dropped: aggregate-1.group-aggregate; new: aggregate-1.group-aggregate";
    for against in [path.as_str(), newest] {
        let validate = |file: &str| command(folder.path(), &["validate", file, "--against", against]);
        for (file, said) in [("one.sql", kept), ("behind.sql", kept), ("given.yaml", given)] {
            let done = validate(file)?.success()?;
            let line = format!("it can go on from checkpoint {epoch}; {said}\n");
            ensure!(done.stdout.ends_with(&line), "{file}: {}", done.stdout);
        }
        let done = validate("two.sql")?;
        assert_eq!((done.status.code(), done.stderr), (Some(2), format!("error: {why}\n")));
    }
    let nothing =
        command(folder.path(), &["validate", "two.sql", "--against", "elsewhere/job", "--json"])?.success()?;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&nothing.stdout)?["against"], serde_json::Value::Null);
    Ok(())
}

#[tokio::test]
async fn looking_for_a_job_that_does_not_run_is_told() -> Result<()> {
    let folder = folder()?;
    let here = folder.path().display();
    let said = |args: &[&str], code: i32, expected: &str| -> Result<()> {
        let done = command(folder.path(), &[&["job"], args].concat())?;
        assert_eq!((done.status.code(), done.stdout.as_str()), (Some(code), ""), "{args:?} {}", done.stderr);
        assert_eq!(done.stderr, format!("error: {expected}\n"));
        Ok(())
    };
    let none = format!("no job runs in {here}; give the --workdir of a running job");
    said(&["status", "--workdir", &here.to_string()], 2, &none)?;
    said(&["status", "--workdir", "none"], 2, "--workdir none: there is no such folder")?;
    said(&["stop"], 2, "say which job: --workdir DIR, or --address HOST:PORT with --token TOKEN")?;
    // Nobody listens there, which is nobody's mistake: a failure.
    let away = command(folder.path(), &["job", "status", "--address", "127.0.0.1:1", "--token", "x"])?;
    assert_eq!(away.status.code(), Some(1));
    assert!(away.stderr.starts_with("error: the job's API at 127.0.0.1:1 does not answer"), "{}", away.stderr);

    fs::write(folder.path().join("job.sql"), ENDLESS)?;
    let file = folder.path().join("job.sql");
    let mut job = Job::start(&folder.path().join("run"), &[&file.to_string_lossy()])?;
    job.until("the job runs", |status| (status.state == millstream_api::wire::JobState::Running).then_some(())).await?;
    let work = job.workdir().path().display().to_string();
    let said = |args: &[&str], expected: &str| said(&[args, &["--workdir", &work]].concat(), 2, expected);
    said(&["status", "other"], "the job there is job, not other")?;
    said(&["rescale", "--stage", "bid"], "--stage bid: write STAGE=TASKS, such as window-1=4")?;
    said(&["rescale", "--stage", "bit=2"], "there is no stage bit; the stages are bid")?;
    said(&["rescale", "--stage", "bid=2"], "stage bid: 2 tasks need as many slots and there are 1; add workers")?;
    command(folder.path(), &["job", "stop", "job", "--workdir", &work])?.success()?;
    job.end(std::time::Duration::from_secs(60)).await?.success()?;
    assert!(!Workdir::new(work).api_file().exists(), "no job runs there any more");
    Ok(())
}

/// Nothing is left running, and with `--json` every line on stdout is an object, though the job prints rows.
#[tokio::test]
async fn ctrl_c_ends_everything_with_130() -> Result<()> {
    let folder = folder()?;
    let file = folder.path().join("job.sql");
    fs::write(&file, ENDLESS.replace("blackhole", "print"))?;
    let mut job = Job::start(&folder.path().join("run"), &[&file.to_string_lossy(), "--json"])?;
    job.until("a checkpoint", |status| status.checkpoint.as_ref().map(|_| ())).await?;
    job.interrupt()?;
    let done = job.end(std::time::Duration::from_secs(30)).await?;
    assert_eq!(done.status.code(), Some(130));
    assert_eq!(done.stderr, "interrupted; output that no checkpoint covers is not visible\n");
    let lines: Vec<serde_json::Value> = done.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert!(lines.len() > 1 && lines.iter().all(|line| line["kind"] == "progress"), "{}", done.stdout);
    Ok(())
}

const ENDLESS: &str = "
CREATE TABLE bid (auction BIGINT) WITH ('connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.rate' = '100');
CREATE TABLE out (auction BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO out SELECT auction FROM bid;";
