//! Text to tokens with their places, and tokens to statements.
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Error, Position};

/// Longest text that is planned: far above what a person writes, low enough that no pass over it takes long.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// The dialect tokens and expressions are read with.
pub(crate) static DIALECT: GenericDialect = GenericDialect {};

/// The tokens of one statement, without white space and without the semicolon. Never empty.
#[derive(Debug, Clone)]
pub(crate) struct Tokens(pub Vec<TokenWithSpan>);

/// Cuts a text into the tokens of its statements.
pub(crate) fn statements(text: &str) -> Result<Vec<Tokens>, Error> {
    let mut statements = Vec::new();
    let mut current = Vec::new();
    for token in tokenize(text)? {
        if token.token == Token::SemiColon {
            statements.push(std::mem::take(&mut current));
        } else {
            current.push(token);
        }
    }
    statements.push(current);
    Ok(statements.into_iter().map(strip_statement_set).filter(|tokens| !tokens.is_empty()).map(Tokens).collect())
}

fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>, Error> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text has {} bytes; at most {MAX_TEXT_BYTES} are planned", text.len());
        return Err(Error::at(Position { line: 1, column: 1 }, message).help("split it into several jobs"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(offset) = text.find('\0') {
        let message = "the text contains a NUL byte";
        return Err(Error::at(position_of(text, offset), message).help("is this file SQL text in UTF-8?"));
    }
    // To the tokenizer this is text to run, and one inside the other it recurses without bound.
    if let Some(offset) = text.find("/*!") {
        return Err(
            Error::at(position_of(text, offset), "comments that begin with /*! are not supported").help("write /* !")
        );
    }
    let tokens = Tokenizer::new(&DIALECT, text).tokenize_with_location().map_err(|error| {
        let message = format!("cannot read the text here: {}", lower_first(&error.message));
        Error::at(error.location.into(), message).help("is a quote or a comment left open?")
    })?;
    Ok(tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect())
}

/// Line and column of a byte offset.
fn position_of(text: &str, offset: usize) -> Position {
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: narrow(line), column: narrow(column) }
}

/// `EXECUTE STATEMENT SET BEGIN`, `BEGIN STATEMENT SET` and `END` only bracket INSERTs, which belong together anyway.
fn strip_statement_set(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const BRACKETS: [&[&str]; 3] =
        [&["EXECUTE", "STATEMENT", "SET", "BEGIN"], &["BEGIN", "STATEMENT", "SET"], &["END"]];
    for bracket in BRACKETS {
        let opens =
            tokens.len() >= bracket.len() && bracket.iter().zip(&tokens).all(|(word, token)| is_word(token, word));
        if opens && (bracket.len() > 1 || tokens.len() == 1) {
            return tokens[bracket.len()..].to_vec();
        }
    }
    tokens
}

/// Whether the token is this word, unquoted, in any case.
pub(crate) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// The error messages of libraries begin in upper case; ours do not.
pub(crate) fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    let second_is_upper = chars.clone().nth(1).is_some_and(char::is_uppercase);
    match chars.next() {
        Some(first) if !second_is_upper => first.to_lowercase().chain(chars).collect(),
        _ => message.to_owned(),
    }
}

/// Text of the user in a message: not more than a line of it.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= SHOWN {
        return line;
    }
    line.chars().take(SHOWN).chain("...".chars()).collect()
}

impl Tokens {
    /// Where the statement begins.
    pub(crate) fn start(&self) -> Position {
        self.0.first().map(Position::of).unwrap_or_default()
    }

    /// Where its last token begins: the place of what is missing at the end.
    pub(crate) fn end(&self) -> Position {
        self.0.last().map(Position::of).unwrap_or_default()
    }

    /// Whether the token at `index` is this word.
    pub(crate) fn word_at(&self, index: usize, word: &str) -> bool {
        self.0.get(index).is_some_and(|token| is_word(token, word))
    }

    /// Whether the token at `index` is this one.
    pub(crate) fn token_at(&self, index: usize, token: &Token) -> bool {
        self.0.get(index).is_some_and(|found| found.token == *token)
    }

    /// The first place where a name is written, quoted or not: with this case if it is there, else in any.
    pub(crate) fn find_name(&self, name: &str) -> Option<Position> {
        let find = |same: &dyn Fn(&str) -> bool| {
            self.0.iter().find(|token| matches!(&token.token, Token::Word(word) if same(&word.value))).map(Position::of)
        };
        find(&|word| word == name).or_else(|| find(&|word| word.eq_ignore_ascii_case(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split_at_semicolons_and_statement_sets_unwrapped() {
        let text = "-- a; b\nSET 'x' = ';';\nEXECUTE STATEMENT SET BEGIN\nINSERT INTO a SELECT 1; INSERT INTO b SELECT 2;\nEND;";
        let statements = statements(text).unwrap();
        assert_eq!(statements.len(), 3);
        assert_eq!(statements[1].start(), Position { line: 4, column: 1 });
    }

    #[test]
    fn a_nul_byte_and_an_open_quote_are_pointed_at() {
        let error = statements("SELECT 1;\n  \0").unwrap_err();
        assert_eq!((error.line, error.column), (2, 3));
        let error = statements("SELECT 'abc").unwrap_err();
        assert_eq!((error.line, error.column), (1, 8));
    }
}
