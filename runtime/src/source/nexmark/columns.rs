//! The columns of the Nexmark tables, and the making of whole columns from event numbers: only declared columns are
//! made, one after the other, without an allocation per row.
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;

use super::model::{self, Kind, Prices};

/// What values depend on besides the event's number.
pub struct Model {
    /// Events a second of event time.
    pub event_rate: u64,
    /// Lookup tables of prices.
    pub prices: Prices,
}

/// How a column is made.
#[derive(Clone, Copy)]
pub enum Values {
    /// BIGINT.
    Number(fn(u64, &Model) -> i64),
    /// TIMESTAMP(3).
    Time(fn(u64, &Model) -> i64),
    /// STRING: appends its bytes (UTF-8); with the usual length.
    Text(fn(u64, &mut Vec<u8>), usize),
    /// INT: 0 person, 1 auction, 2 bid.
    EventType,
}

impl Values {
    /// The type a table must declare for it.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Number(_) => DataType::Int64,
            Self::Time(_) => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::Text(..) => DataType::Utf8,
            Self::EventType => DataType::Int32,
        }
    }
}

/// A column of a table.
#[derive(Clone, Copy)]
pub struct Column {
    /// Whose column it is; none = of all kinds.
    pub kind: Option<Kind>,
    /// Name in the table of its kind.
    pub name: &'static str,
    /// Name in the table `all`.
    pub name_in_all: &'static str,
    values: Values,
}

const fn column(kind: Kind, name: &'static str, name_in_all: &'static str, values: Values) -> Column {
    Column { kind: Some(kind), name, name_in_all, values }
}

const fn common(name: &'static str, values: Values) -> Column {
    Column { kind: None, name, name_in_all: name, values }
}

fn date_time(number: u64, model: &Model) -> i64 {
    model::date_time_ms(number, model.event_rate)
}

/// All columns, in the order of the public suite.
pub const COLUMNS: &[Column] = &[
    Column { kind: None, name: "", name_in_all: "event_type", values: Values::EventType },
    column(Kind::Person, "id", "person_id", Values::Number(|n, _| model::person_id(n))),
    column(Kind::Person, "name", "person_name", Values::Text(model::name, 11)),
    column(Kind::Person, "emailAddress", "person_emailAddress", Values::Text(model::email, 17)),
    column(Kind::Person, "creditCard", "person_creditCard", Values::Text(model::credit_card, 19)),
    column(Kind::Person, "city", "person_city", Values::Text(model::city, 8)),
    column(Kind::Person, "state", "person_state", Values::Text(model::state, 2)),
    column(Kind::Person, "extra", "person_extra", Values::Text(model::extra, 130)),
    column(Kind::Auction, "id", "auction_id", Values::Number(|n, _| model::auction_id(n))),
    column(Kind::Auction, "itemName", "auction_itemName", Values::Text(model::item_name, 11)),
    column(Kind::Auction, "description", "auction_description", Values::Text(model::description, 51)),
    column(
        Kind::Auction,
        "initialBid",
        "auction_initialBid",
        Values::Number(|n, model| model::initial_bid(n, &model.prices)),
    ),
    column(Kind::Auction, "reserve", "auction_reserve", Values::Number(|n, model| model::reserve(n, &model.prices))),
    column(
        Kind::Auction,
        "expires",
        "auction_expires",
        Values::Time(|n, model| model::expires_ms(n, model.event_rate)),
    ),
    column(Kind::Auction, "seller", "auction_seller", Values::Number(|n, _| model::seller(n))),
    column(Kind::Auction, "category", "auction_category", Values::Number(|n, _| model::category(n))),
    column(Kind::Auction, "extra", "auction_extra", Values::Text(model::extra, 400)),
    column(Kind::Bid, "auction", "bid_auction", Values::Number(|n, _| model::bid_auction(n))),
    column(Kind::Bid, "bidder", "bid_bidder", Values::Number(|n, _| model::bidder(n))),
    column(Kind::Bid, "price", "bid_price", Values::Number(|n, model| model::price(n, &model.prices))),
    column(Kind::Bid, "channel", "bid_channel", Values::Text(model::channel, 10)),
    column(Kind::Bid, "url", "bid_url", Values::Text(model::url, 70)),
    column(Kind::Bid, "extra", "bid_extra", Values::Text(model::extra, 70)),
    common("dateTime", Values::Time(date_time)),
];

/// The columns of a table: of one kind, or (none) of `all`.
pub fn of_table(kind: Option<Kind>) -> impl Iterator<Item = (&'static str, &'static Column)> {
    COLUMNS.iter().filter_map(move |column| match kind {
        None => Some((column.name_in_all, column)),
        Some(_) => {
            (!column.name.is_empty() && (column.kind.is_none() || column.kind == kind)).then_some((column.name, column))
        }
    })
}

impl Column {
    /// The type a table must declare for it.
    pub fn data_type(&self) -> DataType {
        self.values.data_type()
    }

    /// The column for these events. Null where an event is of another kind, if `mixed`.
    pub fn make(&self, numbers: &[u64], model: &Model, mixed: bool) -> Result<ArrayRef, ArrowError> {
        let kind = self.kind.filter(|_| mixed);
        let is_there = |number: u64| kind.is_none_or(|kind| model::kind(number) == kind);
        let nulls = kind.map(|_| numbers.iter().map(|number| is_there(*number)).collect::<NullBuffer>());
        let numeric = |make: fn(u64, &Model) -> i64| -> ScalarBuffer<i64> {
            let value = |number: &u64| if is_there(*number) { make(*number, model) } else { 0 };
            numbers.iter().map(value).collect::<Vec<_>>().into()
        };
        Ok(match self.values {
            Values::Number(make) => Arc::new(Int64Array::try_new(numeric(make), nulls)?),
            Values::Time(make) => Arc::new(TimestampMillisecondArray::try_new(numeric(make), nulls)?),
            Values::EventType => {
                Arc::new(Int32Array::from_iter_values(numbers.iter().map(|number| model::kind(*number) as i32)))
            }
            Values::Text(append, usual_len) => {
                let mut bytes = Vec::with_capacity(numbers.len() * (usual_len + usual_len / 4 + 4));
                let mut ends = Vec::with_capacity(numbers.len());
                for number in numbers {
                    let start = bytes.len();
                    if is_there(*number) {
                        append(*number, &mut bytes);
                    }
                    ends.push(bytes.len() - start);
                }
                Arc::new(StringArray::try_new(OffsetBuffer::from_lengths(ends), Buffer::from_vec(bytes), nulls)?)
            }
        })
    }
}
