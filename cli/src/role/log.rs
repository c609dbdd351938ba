//! Where logs go, without what must not be seen.
use std::io::{self, Write};
use std::sync::Arc;

use millstream_runtime::redact::Redaction;
use tracing_subscriber::fmt::MakeWriter;

/// Standard error with names for secret values.
#[derive(Clone)]
pub struct Redacted(Arc<Redaction>);

impl Redacted {
    /// Of these values.
    pub fn new(redaction: Redaction) -> Self {
        Self(Arc::new(redaction))
    }
}

impl<'a> MakeWriter<'a> for Redacted {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Redacted {
    /// Events come as one write each.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = self.0.apply(&String::from_utf8_lossy(bytes));
        io::stderr().lock().write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
