//! `CREATE TABLE`: physical and computed columns, watermark, options.
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{NOT, NULL, Name, Reader};
use crate::error::{Error, Position};
use crate::types::arrow_type;
use arrow::datatypes::DataType;

/// A table as written.
#[derive(Debug)]
pub(crate) struct CreateTable {
    pub name: Name,
    pub columns: Vec<Column>,
    pub watermark: Option<Watermark>,
    /// Keys in lower case; the place is that of the key.
    pub options: Vec<(String, String, Position)>,
}

/// A column as written.
#[derive(Debug)]
pub(crate) struct Column {
    pub name: Name,
    pub kind: ColumnKind,
}

/// What fills a column.
#[derive(Debug)]
pub(crate) enum ColumnKind {
    /// The connector.
    Physical(DataType),
    /// An expression over the physical columns.
    Computed(Box<Expr>),
}

/// `WATERMARK FOR column AS expr`.
#[derive(Debug)]
pub(crate) struct Watermark {
    pub column: Name,
    pub expr: Box<Expr>,
    /// Where the expression begins.
    pub position: Position,
}

impl Reader<'_> {
    pub(super) fn create_table(&mut self) -> Result<CreateTable, Error> {
        self.if_not_exists()?;
        let name = self.table_name()?;
        let mut table = CreateTable { name, columns: Vec::new(), watermark: None, options: Vec::new() };
        self.expect(&Token::LParen)?;
        loop {
            self.table_element(&mut table)?;
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen)?;
        if self.word("COMMENT") {
            self.string("a comment in single quotes")?;
        }
        let next = self.parser.peek_token();
        if self.word("PARTITIONED") || self.word("DISTRIBUTED") {
            return Err(Error::at(Position::of(&next), format!("{} BY is not supported yet", next.token)));
        }
        if self.word("WITH") {
            table.options = self.options()?;
        }
        Ok(table)
    }

    fn table_element(&mut self, table: &mut CreateTable) -> Result<(), Error> {
        let next = self.parser.peek_nth_token(1);
        if crate::tokens::is_word(self.parser.peek_token_ref(), "WATERMARK") && crate::tokens::is_word(&next, "FOR") {
            return self.watermark(table);
        }
        if self.word("CONSTRAINT") {
            self.name("a constraint name")?;
            self.expect_word("PRIMARY")?;
            return self.primary_key();
        }
        if crate::tokens::is_word(&next, "KEY") && self.word("PRIMARY") {
            return self.primary_key();
        }
        let name = self.name("a column, WATERMARK FOR or PRIMARY KEY")?;
        if let Some(other) = table.columns.iter().find(|column| column.name.text == name.text) {
            let message = format!("column \"{}\" is declared twice in table \"{}\"", other.name.text, table.name.text);
            return Err(Error::at(name.position, message));
        }
        let kind = self.column_kind()?;
        table.columns.push(Column { name, kind });
        Ok(())
    }

    fn column_kind(&mut self) -> Result<ColumnKind, Error> {
        if self.word("AS") {
            let expr = self.parser.parse_expr().map_err(|error| self.fail(error))?;
            self.column_comment()?;
            return Ok(ColumnKind::Computed(Box::new(expr)));
        }
        let start = self.parser.peek_token();
        let sql = self.parser.parse_data_type().map_err(|error| self.fail(error))?;
        let data_type = arrow_type(&sql).map_err(|error| error.or_at(Position::of(&start)))?;
        let next = self.parser.peek_token();
        if self.word("METADATA") {
            return Err(Error::at(Position::of(&next), "METADATA columns are not supported yet"));
        }
        // Whether a column may be null is left to the data.
        let _ = self.parser.parse_keywords(&[NOT, NULL]) || self.parser.parse_keyword(NULL);
        if self.word("PRIMARY") {
            self.expect_word("KEY")?;
            self.expect_word("NOT")?;
            self.expect_word("ENFORCED")?;
        }
        self.column_comment()?;
        Ok(ColumnKind::Physical(data_type))
    }

    fn column_comment(&mut self) -> Result<(), Error> {
        if self.word("COMMENT") {
            self.string("a comment in single quotes")?;
        }
        Ok(())
    }

    fn watermark(&mut self, table: &mut CreateTable) -> Result<(), Error> {
        let start = self.parser.peek_token();
        self.expect_word("WATERMARK")?;
        self.expect_word("FOR")?;
        if table.watermark.is_some() {
            let message = format!("table \"{}\" declares a second watermark", table.name.text);
            return Err(Error::at(Position::of(&start), message).help("a table has one event time"));
        }
        let column = self.name("a column name")?;
        self.expect_word("AS")?;
        let position = Position::of(self.parser.peek_token_ref());
        let expr = self.parser.parse_expr().map_err(|error| self.fail(error))?;
        table.watermark = Some(Watermark { column, expr: Box::new(expr), position });
        Ok(())
    }

    /// Accepted because Flink asks for it; no connector needs it.
    fn primary_key(&mut self) -> Result<(), Error> {
        self.expect_word("KEY")?;
        self.column_list()?;
        self.expect_word("NOT")?;
        self.expect_word("ENFORCED")
    }

    fn options(&mut self) -> Result<Vec<(String, String, Position)>, Error> {
        self.expect(&Token::LParen)?;
        let mut options: Vec<(String, String, Position)> = Vec::new();
        loop {
            let (key, position) = self.string("an option name in single quotes")?;
            let key = key.to_lowercase();
            self.expect(&Token::Eq)?;
            let (value, _) = self.string("an option value in single quotes")?;
            if options.iter().any(|(other, ..)| *other == key) {
                return Err(Error::at(position, format!("option '{key}' is given twice")));
            }
            options.push((key, value, position));
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen)?;
        Ok(options)
    }
}
