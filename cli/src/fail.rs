//! How a command fails: one message on stderr, exit code 2 if the user can mend it, 1 otherwise.
use std::fmt;
use std::process::ExitCode;

/// An error that the person at the keyboard can mend. Exit code 2.
#[derive(Debug)]
pub struct UserError(pub String);

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UserError {}

/// Makes an error of this kind.
pub fn user(message: impl Into<String>) -> anyhow::Error {
    UserError(message.into()).into()
}

/// Prints the error with its causes and picks the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    let user = error.downcast_ref::<UserError>().is_some();
    ExitCode::from(if user { 2 } else { 1 })
}
