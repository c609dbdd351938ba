//! Bounds how deep a statement nests before anything recurses over it: parser, planner and optimiser are all recursive.
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Position};
use crate::tokens::{Tokens, is_word};

/// Brackets and CASEs inside each other.
const MAX_NESTING: usize = 64;
/// Height of the tree of an expression or of a chain of joins: operators in a row count, since they lean to one side.
const MAX_HEIGHT: usize = 600;

#[derive(Default)]
struct Level {
    /// Height of the tree read so far at this level.
    height: usize,
    /// The highest of those before the last comma.
    highest: usize,
    /// Joins and unions: commas between columns do not end their chain.
    relations: usize,
    /// A comma in FROM is a join.
    in_from: bool,
}

/// Refuses statements that nest deeper than the planner's stack is made for.
pub(crate) fn check(tokens: &Tokens) -> Result<(), Error> {
    let mut levels = vec![Level::default()];
    for token in &tokens.0 {
        if opens(token) {
            levels.push(Level::default());
        } else if closes(token) && levels.len() > 1 {
            let inner = levels.pop().unwrap_or_default();
            if let Some(level) = levels.last_mut() {
                level.height = level.height.max(inner.total() + 1);
            }
        } else if let Some(level) = levels.last_mut() {
            level.read(token);
        }
        if levels.len() > MAX_NESTING {
            return Err(Error::at(Position::of(token), format!("this nests more than {MAX_NESTING} levels deep"))
                .help("move inner parts into a view"));
        }
        if levels.last().is_some_and(|level| level.total() > MAX_HEIGHT) {
            let message =
                format!("this expression nests too deep: more than {MAX_HEIGHT} operators depend on each other");
            return Err(Error::at(Position::of(token), message).help("use IN (...) or split it over several views"));
        }
    }
    Ok(())
}

impl Level {
    fn total(&self) -> usize {
        self.height.max(self.highest) + self.relations
    }

    fn read(&mut self, token: &TokenWithSpan) {
        const CLAUSES: [&str; 6] = ["WHERE", "GROUP", "HAVING", "SELECT", "ORDER", "SET"];
        match &token.token {
            Token::Comma if self.in_from => self.relations += 1,
            Token::Comma => {
                self.highest = self.highest.max(self.height);
                self.height = 0;
            }
            Token::Word(word) if word.quote_style.is_none() => {
                if is_word(token, "FROM") {
                    self.in_from = true;
                } else if CLAUSES.iter().any(|clause| is_word(token, clause)) {
                    self.in_from = false;
                }
                const RELATIONS: [&str; 4] = ["JOIN", "UNION", "EXCEPT", "INTERSECT"];
                const OPERATORS: [&str; 9] = ["AND", "OR", "NOT", "IS", "LIKE", "BETWEEN", "IN", "AT", "COLLATE"];
                self.relations += usize::from(RELATIONS.iter().any(|word| is_word(token, word)));
                self.height += usize::from(OPERATORS.iter().any(|word| is_word(token, word)));
            }
            Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::Period => {}
            // Every other token is an operator or something no statement has much of.
            _ => self.height += 1,
        }
    }
}

fn opens(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::LParen | Token::LBracket | Token::LBrace) || is_word(token, "CASE")
}

fn closes(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::RParen | Token::RBracket | Token::RBrace) || is_word(token, "END")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::statements;

    fn check_text(text: &str) -> Result<(), Error> {
        check(&statements(text).unwrap()[0])
    }

    #[test]
    fn depth_is_bounded_in_every_direction() {
        for (open, close) in [("(", ")"), ("CASE WHEN a THEN ", " END"), ("NOT ", ""), ("f(", ")"), ("- ", "")] {
            let text = format!("SELECT {}a{} FROM t", open.repeat(700), close.repeat(700));
            assert!(check_text(&text).is_err(), "{open}");
            let text = format!("SELECT {}a{} FROM t", open.repeat(40), close.repeat(40));
            assert!(check_text(&text).is_ok(), "{open}");
        }
        for chain in [" AND a", " + a", " OR a = 1", " || 'x'"] {
            assert!(check_text(&format!("SELECT a{}", chain.repeat(50_000))).is_err(), "{chain}");
        }
        assert!(check_text(&format!("SELECT 1 FROM a{}", ", a".repeat(1000))).is_err());
        assert!(check_text(&format!("SELECT 1, 2 FROM a{}", " UNION ALL SELECT 1, 2 FROM a".repeat(1000))).is_err());
        assert!(check_text(&format!("SELECT 1 FROM a{}", " JOIN a ON x = y".repeat(1000))).is_err());
    }

    #[test]
    fn width_is_not_depth() {
        assert!(
            check_text(&format!("SELECT a{} FROM t WHERE a IN (1{})", ", a + 1".repeat(5000), ", 2".repeat(5000)))
                .is_ok()
        );
    }
}
