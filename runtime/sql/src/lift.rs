//! Flink forms the parser does not know, turned into forms it does. Tokens are dropped or replaced, never moved: every
//! place in a later error is the place in the user's text.
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::tokens::{Tokens, is_word};

/// The window table functions of Flink SQL.
pub(crate) const WINDOW_FUNCTIONS: [&str; 4] = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];

/// What an open bracket belongs to.
#[derive(PartialEq)]
enum Bracket {
    Plain,
    /// Of a window function call.
    Window,
    /// Dropped, and so is its end.
    Dropped,
}

/// `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), ...))` becomes `TUMBLE(t, ts, ...)`, and
/// `TIMESTAMP(3) WITH LOCAL TIME ZONE` becomes `TIMESTAMP_LTZ(3)`; `INTERVAL '334' DAY(3)` loses its precision.
pub(crate) fn lift(tokens: Tokens) -> Tokens {
    let mut lifted: Vec<TokenWithSpan> = Vec::with_capacity(tokens.0.len());
    let mut brackets = Vec::new();
    let mut index = 0;
    while let Some(token) = tokens.0.get(index) {
        let in_window = brackets.last() == Some(&Bracket::Window);
        let before_bracket = tokens.token_at(index + 1, &Token::LParen);
        if is_word(token, "TABLE") && before_bracket && is_window_call(&tokens, index + 2) {
            brackets.push(Bracket::Dropped);
            index += 2;
            continue;
        }
        if in_window && is_word(token, "DESCRIPTOR") && before_bracket {
            brackets.push(Bracket::Dropped);
            index += 2;
            continue;
        }
        index += 1;
        match &token.token {
            Token::LParen if is_precision(&lifted, &tokens, index - 1) => index += 2,
            Token::LParen => {
                let of_window = lifted.last().is_some_and(is_window_function);
                brackets.push(if of_window { Bracket::Window } else { Bracket::Plain });
                lifted.push(token.clone());
            }
            Token::RParen if brackets.pop() == Some(Bracket::Dropped) => {}
            Token::Word(_) if in_window && is_word(token, "TABLE") && !before_bracket => {}
            Token::Word(_) if starts_local_time_zone(&tokens, index - 1) => {
                make_local_timestamp(&mut lifted);
                index += 3;
            }
            _ => lifted.push(token.clone()),
        }
    }
    Tokens(lifted)
}

fn is_window_function(token: &TokenWithSpan) -> bool {
    WINDOW_FUNCTIONS.iter().any(|function| is_word(token, function))
}

fn is_window_call(tokens: &Tokens, index: usize) -> bool {
    tokens.0.get(index).is_some_and(is_window_function) && tokens.token_at(index + 1, &Token::LParen)
}

/// `(3)` of `INTERVAL '334' DAY(3)`: a bound on digits that the value keeps by itself.
fn is_precision(lifted: &[TokenWithSpan], tokens: &Tokens, open: usize) -> bool {
    let [.., interval, value, unit] = lifted else { return false };
    let number = tokens.0.get(open + 1).is_some_and(|token| matches!(token.token, Token::Number(..)));
    let is_interval = is_word(interval, "INTERVAL") && matches!(value.token, Token::SingleQuotedString(_));
    is_interval && matches!(unit.token, Token::Word(_)) && number && tokens.token_at(open + 2, &Token::RParen)
}

fn starts_local_time_zone(tokens: &Tokens, index: usize) -> bool {
    ["WITH", "LOCAL", "TIME", "ZONE"].iter().enumerate().all(|(offset, word)| tokens.word_at(index + offset, word))
}

/// Renames the type just read, which ends with `TIMESTAMP` or `TIMESTAMP(p)`.
fn make_local_timestamp(lifted: &mut [TokenWithSpan]) {
    if let Some(token) = lifted.iter_mut().rev().take(4).find(|token| is_word(token, "TIMESTAMP")) {
        token.token = Token::make_word("TIMESTAMP_LTZ", None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::statements;

    fn lifted(text: &str) -> String {
        let tokens = lift(statements(text).unwrap().remove(0));
        tokens.0.iter().map(|token| token.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn window_functions_lose_what_the_parser_does_not_know() {
        let plain = "FROM TUMBLE ( bid , ts , INTERVAL '1' SECOND ) AS b";
        assert_eq!(lifted("FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND)) AS b"), plain);
        assert_eq!(lifted("FROM TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND) AS b"), plain);
        assert_eq!(
            lifted("FROM TABLE ( HOP(DATA => TABLE b, TIMECOL => DESCRIPTOR(t)))"),
            "FROM HOP ( DATA => b , TIMECOL => t )"
        );
    }

    #[test]
    fn intervals_lose_their_precision_and_types_keep_theirs() {
        assert_eq!(lifted("x - INTERVAL '334' DAY(3), y"), "x - INTERVAL '334' DAY , y");
        assert_eq!(lifted("f(INTERVAL '1' DAY, 3), TIMESTAMP(3)"), "f ( INTERVAL '1' DAY , 3 ) , TIMESTAMP ( 3 )");
    }

    #[test]
    fn local_timestamps_become_one_word() {
        assert_eq!(lifted("x TIMESTAMP(3) WITH LOCAL TIME ZONE, y"), "x TIMESTAMP_LTZ ( 3 ) , y");
        assert_eq!(lifted("x TIMESTAMP WITH LOCAL TIME ZONE"), "x TIMESTAMP_LTZ");
    }
}
