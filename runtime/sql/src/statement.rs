//! Statements as written: the tokens of each turned into what it declares or asks for.
use datafusion::sql::sqlparser::ast::{Ident, Query};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Position};
use crate::tokens::{DIALECT, Tokens, lower_first};

mod table;

pub(crate) use table::{ColumnKind, CreateTable};

/// A statement of the dialect.
#[derive(Debug)]
pub(crate) enum Statement {
    /// `CREATE TABLE`.
    CreateTable(CreateTable),
    /// `CREATE VIEW`.
    CreateView(CreateView),
    /// `INSERT INTO`.
    Insert(Insert),
    /// `SET 'key' = 'value'`.
    Set { key: String, value: String },
}

/// A name and its place.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub text: String,
    pub position: Position,
}

impl From<Ident> for Name {
    fn from(ident: Ident) -> Self {
        Self { position: ident.span.start.into(), text: ident.value }
    }
}

/// `CREATE [TEMPORARY] VIEW name [(columns)] AS query`.
#[derive(Debug)]
pub(crate) struct CreateView {
    pub name: Name,
    pub columns: Vec<Name>,
    pub query: Box<Query>,
}

/// `INSERT INTO table [(columns)] query`.
#[derive(Debug)]
pub(crate) struct Insert {
    pub table: Name,
    pub columns: Vec<Name>,
    pub query: Box<Query>,
}

/// Reads one statement.
pub(crate) fn parse(tokens: &Tokens) -> Result<Statement, Error> {
    let mut reader = Reader::new(tokens);
    let statement = reader.statement()?;
    let rest = reader.parser.peek_token();
    if rest.token != Token::EOF {
        return Err(reader.expected("the end of the statement", &rest).help("statements are separated by \";\""));
    }
    Ok(statement)
}

/// The parser of the library, with errors at places.
struct Reader<'a> {
    parser: Parser<'a>,
    tokens: &'a Tokens,
}

impl<'a> Reader<'a> {
    fn new(tokens: &'a Tokens) -> Self {
        // Depth was checked before (see `depth`); this bounds what that check cannot see.
        let parser = Parser::new(&DIALECT).with_recursion_limit(1000).with_tokens_with_locations(tokens.0.clone());
        Self { parser, tokens }
    }

    fn statement(&mut self) -> Result<Statement, Error> {
        let first = self.parser.peek_token();
        if self.word("SET") {
            return self.set();
        }
        if self.word("INSERT") {
            if self.word("OVERWRITE") {
                return Err(Error::at(Position::of(&first), "INSERT OVERWRITE is not supported: streams only append"));
            }
            self.expect_word("INTO")?;
            return self.insert();
        }
        if self.word("CREATE") {
            let temporary = self.word("TEMPORARY");
            if self.word("TABLE") {
                return self.create_table().map(Statement::CreateTable);
            }
            if self.word("VIEW") {
                return self.create_view();
            }
            let found = self.parser.peek_token();
            let expected = if temporary { "TABLE or VIEW" } else { "TABLE, VIEW or TEMPORARY VIEW" };
            return Err(self.expected(expected, &found));
        }
        let help = "statements: CREATE TABLE, CREATE VIEW, INSERT INTO ... SELECT, SET 'key' = 'value'";
        Err(Error::at(Position::of(&first), format!("unknown statement \"{}\"", first.token)).help(help))
    }

    fn set(&mut self) -> Result<Statement, Error> {
        let (key, _) = self.string("a key in single quotes")?;
        self.expect(&Token::Eq)?;
        let (value, _) = self.string("a value in single quotes")?;
        Ok(Statement::Set { key, value })
    }

    fn insert(&mut self) -> Result<Statement, Error> {
        self.word("TABLE");
        let table = self.table_name()?;
        let next = self.parser.peek_nth_token(1);
        let is_query = ["SELECT", "WITH", "VALUES"].iter().any(|word| crate::tokens::is_word(&next, word));
        let nested = next.token == Token::LParen;
        let columns = if self.parser.peek_token().token == Token::LParen && !is_query && !nested {
            self.column_list()?
        } else {
            Vec::new()
        };
        let query = self.query()?;
        Ok(Statement::Insert(Insert { table, columns, query }))
    }

    fn create_view(&mut self) -> Result<Statement, Error> {
        self.if_not_exists()?;
        let name = self.table_name()?;
        let columns = if self.parser.peek_token().token == Token::LParen { self.column_list()? } else { Vec::new() };
        if self.word("COMMENT") {
            self.string("a comment in single quotes")?;
        }
        self.expect_word("AS")?;
        let query = self.query()?;
        Ok(Statement::CreateView(CreateView { name, columns, query }))
    }

    fn if_not_exists(&mut self) -> Result<(), Error> {
        if self.word("IF") {
            self.expect_word("NOT")?;
            self.expect_word("EXISTS")?;
        }
        Ok(())
    }

    fn query(&mut self) -> Result<Box<Query>, Error> {
        let start = self.parser.peek_token();
        let is_query = ["SELECT", "WITH", "VALUES"].iter().any(|word| crate::tokens::is_word(&start, word));
        if !is_query && start.token != Token::LParen {
            return Err(self.expected("SELECT", &start));
        }
        self.parser.parse_query().map_err(|error| self.fail(error))
    }

    fn column_list(&mut self) -> Result<Vec<Name>, Error> {
        self.expect(&Token::LParen)?;
        let mut columns = vec![self.name("a column name")?];
        while self.parser.consume_token(&Token::Comma) {
            columns.push(self.name("a column name")?);
        }
        self.expect(&Token::RParen)?;
        Ok(columns)
    }

    /// The last part of a possibly qualified name: there is one catalogue with one database.
    fn table_name(&mut self) -> Result<Name, Error> {
        let mut name = self.name("a table name")?;
        while self.parser.consume_token(&Token::Period) {
            name = self.name("a table name")?;
        }
        Ok(name)
    }

    fn name(&mut self, what: &str) -> Result<Name, Error> {
        let found = self.parser.next_token();
        match found.token.clone() {
            Token::Word(word) => Ok(word.into_ident(found.span).into()),
            _ => Err(self.expected(what, &found)),
        }
    }

    fn string(&mut self, what: &str) -> Result<(String, Position), Error> {
        let found = self.parser.next_token();
        match &found.token {
            Token::SingleQuotedString(text) => Ok((text.clone(), Position::of(&found))),
            _ => Err(self.expected(what, &found)),
        }
    }

    /// Takes the next token if it is this word, reserved or not.
    fn word(&mut self, word: &str) -> bool {
        let is_next = crate::tokens::is_word(self.parser.peek_token_ref(), word);
        if is_next {
            self.parser.advance_token();
        }
        is_next
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Error> {
        let found = self.parser.peek_token();
        if self.word(word) { Ok(()) } else { Err(self.expected(word, &found)) }
    }

    fn expect(&mut self, token: &Token) -> Result<(), Error> {
        let found = self.parser.peek_token();
        if self.parser.consume_token(token) { Ok(()) } else { Err(self.expected(&format!("\"{token}\""), &found)) }
    }

    fn expected(&self, what: &str, found: &TokenWithSpan) -> Error {
        if found.token == Token::EOF {
            return Error::at(self.tokens.end(), format!("expected {what} after this, but the statement ends"));
        }
        Error::at(Position::of(found), format!("expected {what}, found \"{}\"", found.token))
    }

    /// The library puts places at the end of its messages.
    fn fail(&self, error: ParserError) -> Error {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
            ParserError::RecursionLimitExceeded => "this nests too deep".to_owned(),
        };
        let (text, place) = message.rsplit_once(" at Line: ").unwrap_or((&message, ""));
        let place = place.split_once(", Column: ").and_then(|(line, column)| {
            Some(Position { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
        });
        let text = match text.split_once("Expected: ") {
            Some((_, rest)) => format!("expected {}", rest.replacen(", found: EOF", ", but the statement ends", 1)),
            None => lower_first(text),
        };
        let text = text.replacen(", found: ", ", found ", 1);
        Error::at(place.filter(|place| place.is_known()).unwrap_or(self.tokens.end()), text)
    }
}

/// The keywords a column's type may be followed by.
const NOT: Keyword = Keyword::NOT;
const NULL: Keyword = Keyword::NULL;
