//! The independent oracle: DataFusion runs a batch query over all rows of the tables that a job reads.
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::Schema;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use millstream_runtime::batch::Batch;
use millstream_runtime::connector::{sink_of, source_of};
use millstream_runtime::sink::Context as SinkContext;
use millstream_runtime::source::{Context, Poll};
use millstream_sql::{PlanOptions, TableSpec, plan, sink_tables, source_tables};

use super::Case;
use crate::process::committed_lines;

/// A time at which every row of a generated table is due, ms since 1970.
const LONG_AFTER_MS: i64 = i64::MAX / 4;

/// What batch execution gives for the written tables of a job, as their own sinks would write it, sorted. `keys` of a changelog make no
/// difference: its table is written as csv.
pub async fn rows(case: &Case) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let sql = case.sql.replace("${OUT}", &folder.path().to_string_lossy());
    let graph = plan(&sql, &PlanOptions::default())?;
    let mut config = SessionConfig::new();
    // Names are as they are written, as in a job.
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let session = SessionContext::new_with_config(config);
    for table in all_read(source_tables(&graph)) {
        let rows = MemTable::try_new(Arc::clone(&table.schema), vec![read(&table)?])?;
        session.register_table(table.name.as_str(), Arc::new(rows))?;
    }
    let mut lines = Vec::new();
    for (table, _) in sink_tables(&graph) {
        let named = case.oracles.iter().find(|(name, _)| *name == table.name);
        let (_, query) = named.with_context(|| format!("no oracle for table {}", table.name))?;
        let batches = session.sql(query).await.with_context(|| query.clone())?.collect().await?;
        lines.extend(written(table, &batches, &folder.path().join("oracle").join(&table.name))?);
    }
    lines.sort();
    Ok(lines)
}

/// Every table once, with all the columns that some source reads of it.
fn all_read<'a>(sources: impl Iterator<Item = &'a TableSpec>) -> Vec<TableSpec> {
    let mut tables: Vec<TableSpec> = Vec::new();
    for source in sources {
        match tables.iter_mut().find(|table| table.name == source.name) {
            None => tables.push(source.clone()),
            Some(table) => {
                let known = table.schema.fields().iter();
                let new = source.schema.fields().iter().filter(|field| table.schema.index_of(field.name()).is_err());
                let fields: Vec<_> = known.chain(new).cloned().collect();
                table.schema = Arc::new(Schema::new_with_metadata(fields, source.schema.metadata().clone()));
            }
        }
    }
    tables
}

/// All rows of a table.
pub fn read(table: &TableSpec) -> Result<Vec<RecordBatch>> {
    let connector = source_of(table)?;
    let context = Context { job_started_at_ms: 0, batch_rows: 4096 };
    let mut source = connector.open(table, connector.splits(table)?, &context)?;
    let mut batches = Vec::new();
    loop {
        match source.poll(LONG_AFTER_MS)? {
            Poll::Rows { rows, .. } => batches.push(rows),
            Poll::Finished { .. } => {}
            Poll::Pending { .. } => anyhow::bail!("table {} waits for something", table.name),
            Poll::End => return Ok(batches),
        }
    }
}

/// The lines that a table's sink writes for rows of these columns, by position.
pub fn written(table: &TableSpec, batches: &[RecordBatch], folder: &Path) -> Result<Vec<String>> {
    let mut table = table.clone();
    if table.connector != "filesystem" {
        table.connector = "filesystem".into();
        table.options = [("format".to_owned(), "csv".to_owned())].into();
    }
    table.options.insert("connector".into(), "filesystem".into());
    table.options.insert("path".into(), folder.to_string_lossy().into_owned());
    let mut sink = sink_of(&table)?.open(&table, &SinkContext { task: 0, generation: 1, job_id: 1 })?;
    for batch in batches {
        ensure!(batch.num_columns() == table.schema.fields().len(), "the oracle of {} has other columns", table.name);
        let columns = batch.columns().iter().zip(table.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<_, _>>()?;
        sink.write(&Batch::inserts(RecordBatch::try_new(Arc::clone(&table.schema), columns)?))?;
    }
    let prepared = sink.prepare(1)?;
    sink.commit(&prepared)?;
    committed_lines(folder)
}
