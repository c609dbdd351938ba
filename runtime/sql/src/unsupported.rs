//! Clauses that are SQL but not supported yet, refused by name and place before anything tries to plan them.
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::{Error, Position};
use crate::tokens::Tokens;

/// Words in a row, and what to do instead. `(` stands for an opening bracket, `1` for a number.
const CLAUSES: [(&[&str], &str); 27] = [
    (&["OVER", "("], ""),
    (&["ORDER", "BY"], "a stream has no end to sort at; sort where the result is read"),
    (&["LIMIT", "1"], ""),
    (&["LIMIT", "ALL"], ""),
    (&["OFFSET", "1"], ""),
    (&["FETCH", "FIRST"], ""),
    (&["FETCH", "NEXT"], ""),
    (&["LEFT", "JOIN"], JOINS),
    (&["LEFT", "OUTER"], JOINS),
    (&["RIGHT", "JOIN"], JOINS),
    (&["RIGHT", "OUTER"], JOINS),
    (&["FULL", "JOIN"], JOINS),
    (&["FULL", "OUTER"], JOINS),
    (&["CROSS", "JOIN"], JOINS),
    (&["NATURAL", "JOIN"], JOINS),
    (&["SEMI", "JOIN"], JOINS),
    (&["ANTI", "JOIN"], JOINS),
    (&["FOR", "SYSTEM_TIME"], ""),
    (&["MATCH_RECOGNIZE", "("], ""),
    (&["EXISTS", "(", "SELECT"], JOINS),
    (&["IN", "(", "SELECT"], JOINS),
    (&["GROUPING", "SETS"], "write one INSERT per grouping"),
    (&["ROLLUP", "("], "write one INSERT per grouping"),
    (&["CUBE", "("], "write one INSERT per grouping"),
    (&["WITH", "RECURSIVE"], ""),
    (&["LATERAL"], ""),
    (&["QUALIFY"], ""),
];

const JOINS: &str = "inner joins with at least one equality between the two sides are supported";

/// Refuses the first clause of the statement that is not supported.
pub(crate) fn check(tokens: &Tokens) -> Result<(), Error> {
    for index in 0..tokens.0.len() {
        for (words, help) in CLAUSES {
            if words.iter().enumerate().all(|(offset, word)| matches(tokens, index + offset, word)) {
                let name: Vec<&str> =
                    words.iter().copied().filter(|word| !matches!(*word, "(" | "1" | "SELECT")).collect();
                let message = format!("{} is not supported yet", name.join(" "));
                return Err(Error::at(Position::of(&tokens.0[index]), message).help(help));
            }
        }
        if (tokens.word_at(index, "INTERSECT") || tokens.word_at(index, "EXCEPT"))
            && tokens.word_at(index + 1, "SELECT")
        {
            let message = format!("{} is not supported yet", tokens.0[index]);
            return Err(Error::at(Position::of(&tokens.0[index]), message).help("UNION ALL is supported"));
        }
    }
    Ok(())
}

fn matches(tokens: &Tokens, index: usize, word: &str) -> bool {
    match word {
        "(" => tokens.token_at(index, &Token::LParen),
        "1" => tokens.0.get(index).is_some_and(|token| matches!(token.token, Token::Number(..))),
        word => tokens.word_at(index, word),
    }
}
