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

/// The person at the keyboard, or TERM, ended the command. Exit code 130, as shells have it for Ctrl-C.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; output that no checkpoint covers is not visible")
    }
}

impl std::error::Error for Interrupted {}

/// Makes an error of this kind.
pub fn user(message: impl Into<String>) -> anyhow::Error {
    UserError(message.into()).into()
}

/// Prints the error with its causes and picks the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<Interrupted>().is_some() {
        eprintln!("{error}");
        return ExitCode::from(130);
    }
    eprintln!("error: {error:#}");
    let user = error.downcast_ref::<UserError>().is_some();
    ExitCode::from(if user { 2 } else { 1 })
}
