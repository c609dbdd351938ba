//! How the databases are opened.
use std::path::Path;
use std::sync::Once;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DataBlockIndexType, Env, InfoLogger,
    LogLevel, Options, WriteBufferManager, WriteOptions,
};

use super::{Error, backend};
use crate::priority::{background, idle};

/// The one column family of a database.
pub(super) const FAMILY: &str = "default";

/// A cut waits until the memtable is a file, and rows only if half of the next is full before.
const MEMTABLE_BYTES_MAX: usize = 16 << 20;
/// RocksDB never begins a file for want of memory, which would be in the middle of a cut: stores do when they may.
const NEVER_BYTES: usize = 1 << 50;
/// So many files of recent writes are merged at a time: reads ask the filters of each of them, and the fewer there are, the more
/// is written again for what is new.
const RECENT_FILES: i32 = 8;
/// With so many times as many, writes are slowed down: each write sleeps, which no row's latency survives. It is far off, since until
/// then reads become slower by and by, which is back-pressure enough.
const RECENT_FILES_SLOWED: i32 = 10;
/// With so many times as many, writes wait.
const RECENT_FILES_MAX: i32 = 20;
/// Threads of a process that write files: while one merges a large level, others flush, and merge recent files with each other.
const BACKGROUND_JOBS: i32 = 4;
/// Of these, as many as RocksDB takes for flushes: a quarter.
const FLUSH_JOBS: i32 = 1;
/// A file on its way goes to the disk in such pieces: however little is to be made durable, a file system that writes in order has it
/// wait for what other files have not written yet.
const BYTES_PER_SYNC: u64 = 1 << 20;

/// Budgets of one worker, shared by all its stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RocksOptions {
    /// Blocks, indexes and filters kept in memory.
    pub cache_bytes: usize,
    /// Writes kept in memory before they are flushed, over all stores.
    pub write_buffer_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, write_buffer_bytes: 64 << 20 }
    }
}

/// What all databases of a backend share.
pub(super) struct Shared {
    cache: Cache,
    pub(super) memtables: Memtables,
}

/// Memtables of all databases of a process.
#[derive(Clone)]
pub(super) struct Memtables {
    /// Counts.
    all: WriteBufferManager,
    budget_bytes: usize,
    /// Of one.
    pub(super) bytes: usize,
}

impl Memtables {
    /// A soft bound: whoever writes then begins a file. The hard one is per store: at four memtables its writes wait.
    /// (A hard bound over all stores would make one wait for memory that idle ones hold, and never give back.)
    pub(super) fn are_over_budget(&self) -> bool {
        self.bytes_used() > self.budget_bytes
    }

    /// All that is in memory, and not given back yet.
    pub(super) fn bytes_used(&self) -> usize {
        self.all.get_usage()
    }
}

impl Shared {
    pub(super) fn new(options: RocksOptions) -> Self {
        let RocksOptions { cache_bytes, write_buffer_bytes } = options;
        begin_threads();
        Self {
            // Without locks, which a thread that yields might hold. 0: it finds out how large entries are.
            cache: Cache::new_hyper_clock_cache(cache_bytes, 0),
            memtables: Memtables {
                all: WriteBufferManager::new_write_buffer_manager(NEVER_BYTES, false),
                budget_bytes: write_buffer_bytes,
                bytes: (write_buffer_bytes / 2).clamp(1 << 20, MEMTABLE_BYTES_MAX),
            },
        }
    }

    /// Opens a database for writing, making it if the folder is empty.
    pub(super) fn open(&self, folder: &Path) -> Result<DB, Error> {
        let options = self.options()?;
        let family = ColumnFamilyDescriptor::new(FAMILY, options.clone());
        DB::open_cf_descriptors(&options, folder, [family]).map_err(backend("open a store"))
    }

    /// Opens a cut. Writes nothing to its folder.
    pub(super) fn open_for_reading(&self, cut: &Path) -> Result<DB, Error> {
        let mut options = self.options()?;
        options.create_if_missing(false);
        let family = ColumnFamilyDescriptor::new(FAMILY, options.clone());
        DB::open_cf_descriptors_read_only(&options, cut, [family], false).map_err(backend("open a cut"))
    }

    /// Options of every database.
    pub(super) fn options(&self) -> Result<Options, Error> {
        // What is not in a cut is not wanted: do not flush it when a store is dropped. And a task that reads last what has been
        // replaced does not free it, nor remove its files, itself.
        let mut options = Options::default()
            .get_options_from_string("avoid_flush_during_shutdown=true;avoid_unnecessary_blocking_io=true")
            .map_err(backend("make the options of a store"))?;
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&self.tables());
        options.set_write_buffer_manager(&self.memtables.all);
        options.set_write_buffer_size(self.memtables.bytes);
        options.set_max_write_buffer_number(4);
        options.set_level_zero_file_num_compaction_trigger(RECENT_FILES);
        options.set_level_zero_slowdown_writes_trigger(RECENT_FILES_SLOWED * RECENT_FILES);
        options.set_level_zero_stop_writes_trigger(RECENT_FILES_MAX * RECENT_FILES);
        options.set_target_file_size_base(32 << 20);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_background_jobs(BACKGROUND_JOBS);
        // One thread writes to a store, and most of its reads are of keys that are not in the memtable.
        options.set_enable_write_thread_adaptive_yield(false);
        options.set_memtable_prefix_bloom_ratio(0.05);
        options.set_memtable_whole_key_filtering(true);
        // A cut uploads the manifest as a whole.
        options.set_max_manifest_file_size(128 << 10);
        options.set_bytes_per_sync(BYTES_PER_SYNC);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_keep_log_file_num(1);
        options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, |level, message| {
            // What it says of its version and options comes through whatever the level, and of each imported file it warns of nothing.
            let warns = matches!(level, LogLevel::Warn | LogLevel::Error | LogLevel::Fatal);
            if warns && !message.contains("Tail prefetch size") {
                tracing::warn!(target: "rocksdb", ?level, "{message}");
            }
        }));
        Ok(options)
    }

    fn tables(&self) -> BlockBasedOptions {
        let mut tables = table_format();
        tables.set_block_cache(&self.cache);
        tables.set_cache_index_and_filter_blocks(true);
        tables.set_cache_index_and_filter_blocks_with_high_priority(true);
        tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
        tables
    }
}

/// Begins the threads that write files, those of all databases of this process. Merging is not waited for by any row, until so many
/// files are not merged that writes are slowed down; files of what was written are waited for by the checkpoint.
fn begin_threads() {
    static BEGUN: Once = Once::new();
    // They are like the thread that begins them.
    let begin = |yields: fn(), threads: fn(&mut Env)| {
        let beginning = std::thread::spawn(move || {
            yields();
            // Without it, RocksDB begins them itself, like any other.
            if let Ok(mut environment) = Env::new() {
                threads(&mut environment);
            }
        });
        // Nothing in it panics; and if something did, RocksDB would begin them.
        let _ = beginning.join();
    };
    BEGUN.call_once(|| {
        begin(idle, |environment| environment.set_background_threads(BACKGROUND_JOBS - FLUSH_JOBS));
        begin(background, |environment| environment.set_high_priority_background_threads(FLUSH_JOBS));
    });
}

/// What is in a table file, whoever writes it.
fn table_format() -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_bloom_filter(10.0, false);
    tables.set_format_version(6);
    // Point lookups find their entry in a block without a binary search.
    tables.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    tables.set_data_block_hash_ratio(0.75);
    tables
}

/// With so many recent files writes are slowed down.
pub(super) fn files_slowed() -> u64 {
    u64::from((RECENT_FILES_SLOWED * RECENT_FILES).unsigned_abs())
}

/// Options of every write: nothing is in a log.
pub(super) fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::new();
    options.disable_wal(true);
    // Batches are mostly sorted: each key is inserted near the one before (measured: 5 to 10 % of a write).
    options.set_memtable_insert_hint_per_batch(true);
    options
}

/// Options for writing a table to import.
pub(super) fn of_import() -> Options {
    let mut options = Options::default();
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table_format());
    options
}
