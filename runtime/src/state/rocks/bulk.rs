//! Imports of many entries: written as a table of their own and taken into the database as a file.
use rocksdb::{DB, IngestExternalFileOptions, SstFileWriter};

use super::{Error, backend, options};

/// Fewer bytes are written like any other change.
pub(super) const INGEST_FROM_BYTES: usize = 1 << 20;

/// Takes ascending entries in as one file. `number`: of this import, different for each of a store.
pub(super) fn ingest(db: &DB, number: u64, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
    let path = db.path().join(format!("import-{number}.tmp"));
    let options = options::of_import();
    let mut writer = SstFileWriter::create(&options);
    writer.open(&path).map_err(backend("begin an import"))?;
    for (key, value) in entries {
        writer.put(key, value).map_err(backend("write an import"))?;
    }
    writer.finish().map_err(backend("end an import"))?;
    drop(writer);
    let mut how = IngestExternalFileOptions::default();
    how.set_move_files(true);
    db.ingest_external_file_opts(&how, vec![&path]).map_err(backend("take in an import"))
}
