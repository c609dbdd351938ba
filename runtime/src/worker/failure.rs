//! Errors that end a task, with who has to act on them.
use crate::message::Failure;
use millstream_api::error::chain;

/// An error that ends a task.
#[derive(Debug)]
pub struct Failed(pub Failure);

impl Failed {
    /// A failure of a source or sink: the user's, unless reading or writing failed.
    pub fn from_source(error: &crate::source::Error) -> Self {
        let user = !matches!(error, crate::source::Error::Read { .. });
        Self(Failure { message: chain(error), user })
    }
}

impl From<crate::stage::Error> for Failed {
    fn from(error: crate::stage::Error) -> Self {
        // An expression that fails on a row fails on it again after every restart.
        let user = matches!(error, crate::stage::Error::Evaluate { .. });
        Self(Failure { message: chain(&error), user })
    }
}

impl From<crate::exchange::Error> for Failed {
    fn from(error: crate::exchange::Error) -> Self {
        Self(Failure { message: chain(&error), user: false })
    }
}

impl From<crate::state::Error> for Failed {
    fn from(error: crate::state::Error) -> Self {
        Self(Failure { message: chain(&error), user: false })
    }
}
