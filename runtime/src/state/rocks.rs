//! Keyed state in RocksDB.
