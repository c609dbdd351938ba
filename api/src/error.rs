//! Errors as people read them.
use std::error::Error;

/// An error with all its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        // Some say in their own text what their cause says.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Failed(&'static str, io::Error);

    impl std::fmt::Display for Failed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failed {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn each_cause_is_said_once() {
        let disk = || io::Error::other("the disk is full");
        assert_eq!(chain(&Failed("cannot write", disk())), "cannot write: the disk is full");
        assert_eq!(chain(&Failed("cannot write, the disk is full", disk())), "cannot write, the disk is full");
        assert_eq!(chain(&disk()), "the disk is full");
    }
}
