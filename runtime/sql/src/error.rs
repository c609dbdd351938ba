//! What is wrong with a text, and where.
use std::fmt;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, TokenWithSpan};

/// A place in the text, counted from 1. Zero means nowhere in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// Where a token begins.
    pub(crate) fn of(token: &TokenWithSpan) -> Self {
        token.span.start.into()
    }

    /// Whether this points at something.
    pub(crate) fn is_known(self) -> bool {
        self.line > 0
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: narrow(location.line), column: narrow(location.column) }
    }
}

/// A mistake in a text: always the user's, never a failure of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Line of the mistake, from 1; 0 if it concerns the text as a whole.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
}

impl Error {
    /// An error at a place.
    pub(crate) fn at(position: Position, message: impl Into<String>) -> Self {
        Self { line: position.line, column: position.column, message: message.into(), help: String::new() }
    }

    /// An error whose place is filled in by whoever knows it (see [`Error::or_at`]).
    pub(crate) fn somewhere(message: impl Into<String>) -> Self {
        Self::at(Position::default(), message)
    }

    /// The same error with advice.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The same error, at `position` if it has no place yet.
    pub(crate) fn or_at(mut self, position: Position) -> Self {
        if self.line == 0 {
            (self.line, self.column) = (position.line, position.column);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.help) }
    }
}

impl std::error::Error for Error {}

/// Our errors travel through DataFusion's planner and come out again (see `diagnose`).
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}
