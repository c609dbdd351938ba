//! The blackhole sink: takes rows and forgets them, so that everything before it can be measured.
use millstream_api::id::{Epoch, Generation};
use millstream_sql::graph::TableSpec;

use crate::batch::Batch;
use crate::connector::options::Options;
use crate::sink::{Committable, Connector, Context, Sink};
use crate::source::Error;

/// The connector.
pub struct Blackhole;

impl Connector for Blackhole {
    fn takes_updates(&self) -> bool {
        true
    }

    fn validate(&self, table: &TableSpec) -> Result<(), Error> {
        Options::read(table, &[]).map(|_| ())
    }

    fn clean(&self, _table: &TableSpec, _job: (u64, Generation), _keep: &[Committable]) -> Result<(), Error> {
        Ok(())
    }

    fn open(&self, _table: &TableSpec, _context: &Context) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(Blackhole))
    }
}

impl Sink for Blackhole {
    fn write(&mut self, _batch: &Batch) -> Result<(), Error> {
        Ok(())
    }

    fn prepare(&mut self, _epoch: Epoch) -> Result<Vec<Committable>, Error> {
        Ok(vec![])
    }

    fn commit(&mut self, _committables: &[Committable]) -> Result<(), Error> {
        Ok(())
    }
}
