//! What is in an event: each value is a pure function of the event's number, so that any split of the stream, in any
//! order, gives the same events. Rules and constants are those of the Nexmark suite of Apache Beam and Flink; the
//! random numbers are our own (a hash of number and purpose instead of a sequential generator).

/// Which of the three streams an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Event 0 of each 50.
    Person = 0,
    /// Events 1 to 3 of each 50.
    Auction = 1,
    /// The other 46 of each 50.
    Bid = 2,
}

/// Events in which each kind has its exact share.
pub const EPOCH: u64 = 50;
const AUCTIONS: u64 = 3;
const FIRST_ID: i64 = 1000;
const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: u64 = 5;
const ACTIVE_PEOPLE: i64 = 1000;
const PEOPLE_LEAD: i64 = 10;
const IN_FLIGHT_AUCTIONS: i64 = 100;
const AUCTION_LEAD: i64 = 10;
/// Hot ids are the last multiple of this.
const HOT_STEP: i64 = 100;
/// 2015-07-15T00:00:00Z.
const BASE_TIME_MS: i64 = 1_436_918_400_000;

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CHANNELS: u64 = 10_000;

/// What a random number is for: different purposes of one event have unrelated numbers.
#[derive(Clone, Copy)]
pub enum Purpose {
    Name = 1,
    Email,
    Card,
    Place,
    Item,
    Description,
    Price,
    Reserve,
    Length,
    Seller,
    Category,
    Auction,
    Bidder,
    Channel,
    Url,
    Extra,
}

/// Random bits of an event for a purpose (the finaliser of SplitMix64 over both).
pub fn random(number: u64, purpose: Purpose) -> u64 {
    let salt = (purpose as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
    mix(number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt))
}

fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// A number below `bound` from the low half of random bits.
fn below(bits: u64, bound: u64) -> u64 {
    ((bits & 0xFFFF_FFFF) * bound) >> 32
}

/// A signed number below a positive bound.
fn below_signed(bits: u64, bound: i64) -> i64 {
    // Invariant: bounds here are small and positive.
    below(bits, bound.unsigned_abs()).cast_signed()
}

fn word<'w>(words: &[&'w str], bits: u64) -> &'w str {
    // Invariant: the index is below the length.
    words[usize::try_from(below(bits, words.len() as u64)).unwrap_or(0)]
}

/// The kind of an event.
pub fn kind(number: u64) -> Kind {
    match number % EPOCH {
        0 => Kind::Person,
        offset if offset <= AUCTIONS => Kind::Auction,
        _ => Kind::Bid,
    }
}

/// Index (from 0) of the latest person at this event.
fn last_person(number: u64) -> i64 {
    (number / EPOCH).cast_signed()
}

/// Index (from 0) of the latest auction at this event; -1 before the first.
fn last_auction(number: u64) -> i64 {
    let (epoch, offset) = (number / EPOCH, number % EPOCH);
    (epoch * AUCTIONS + offset.min(AUCTIONS)).cast_signed() - 1
}

fn active_person(number: u64, bits: u64) -> i64 {
    let people = last_person(number) + 1;
    let active = people.min(ACTIVE_PEOPLE);
    people - active + below_signed(bits, active + PEOPLE_LEAD)
}

fn active_auction(number: u64, bits: u64) -> i64 {
    let last = last_auction(number).max(0);
    let first = (last - IN_FLIGHT_AUCTIONS).max(0);
    first + below_signed(bits, last - first + 1 + AUCTION_LEAD)
}

/// Event time: the stream's own clock, whatever the offered load.
pub fn date_time_ms(number: u64, event_rate: u64) -> i64 {
    BASE_TIME_MS + (number.saturating_mul(1000) / event_rate).cast_signed()
}

pub fn person_id(number: u64) -> i64 {
    FIRST_ID + last_person(number)
}

pub fn auction_id(number: u64) -> i64 {
    FIRST_ID + last_auction(number)
}

/// The hot seller in 3 of 4 auctions, else one of the active people.
pub fn seller(number: u64) -> i64 {
    let bits = random(number, Purpose::Seller);
    let hot = last_person(number) / HOT_STEP * HOT_STEP;
    FIRST_ID + if bits >> 62 > 0 { hot } else { active_person(number, bits) }
}

pub fn category(number: u64) -> i64 {
    FIRST_CATEGORY + below(random(number, Purpose::Category), CATEGORIES).cast_signed()
}

pub fn initial_bid(number: u64, prices: &Prices) -> i64 {
    prices.at(random(number, Purpose::Price))
}

pub fn reserve(number: u64, prices: &Prices) -> i64 {
    initial_bid(number, prices) + prices.at(random(number, Purpose::Reserve))
}

/// An auction is open for 1 ms to twice the time in which 100 auctions begin.
pub fn expires_ms(number: u64, event_rate: u64) -> i64 {
    let now_ms = date_time_ms(number, event_rate);
    let events = IN_FLIGHT_AUCTIONS.unsigned_abs() * EPOCH / AUCTIONS;
    let horizon_ms = date_time_ms(number.saturating_add(events), event_rate) - now_ms;
    now_ms + 1 + below_signed(random(number, Purpose::Length), (2 * horizon_ms).max(1))
}

/// The hot auction in half of the bids, else one in flight.
pub fn bid_auction(number: u64) -> i64 {
    let bits = random(number, Purpose::Auction);
    let hot = last_auction(number) / HOT_STEP * HOT_STEP;
    FIRST_ID + if bits >> 63 > 0 { hot } else { active_auction(number, bits) }
}

/// The hot bidder in 3 of 4 bids, else one of the active people.
pub fn bidder(number: u64) -> i64 {
    let bits = random(number, Purpose::Bidder);
    let hot = last_person(number) / HOT_STEP * HOT_STEP + 1;
    FIRST_ID + if bits >> 62 > 0 { hot } else { active_person(number, bits) }
}

pub fn price(number: u64, prices: &Prices) -> i64 {
    prices.at(random(number, Purpose::Price))
}

/// `round(100 * 10^(6u))` for uniform u, from three tables: exact IEEE arithmetic only, so equal on every platform.
pub struct Prices {
    tables: [[f64; 256]; 3],
}

impl Default for Prices {
    fn default() -> Self {
        // Square roots and products are exactly rounded everywhere; pow is not.
        let mut factors = [1e6_f64; 3];
        for (index, factor) in factors.iter_mut().enumerate() {
            for _ in 0..8 * (index + 1) {
                *factor = factor.sqrt();
            }
        }
        let powers = |factor: f64| {
            let mut power = 1.0;
            std::array::from_fn(|_| {
                let this = power;
                power *= factor;
                this
            })
        };
        Self { tables: factors.map(powers) }
    }
}

impl Prices {
    #[allow(clippy::cast_possible_truncation, reason = "at most 10^8")]
    fn at(&self, bits: u64) -> i64 {
        let digit = |shift: u32| usize::from((bits >> shift) as u8);
        let factor = self.tables[0][digit(56)] * self.tables[1][digit(48)] * self.tables[2][digit(40)];
        (100.0 * factor).round() as i64
    }
}

/// `count` letters from a chain of random words, eight at a time.
fn letters(seed: u64, count: usize, text: &mut Vec<u8>) {
    const LOW: u64 = 0x0F0F_0F0F_0F0F_0F0F;
    const HIGH: u64 = 0x0707_0707_0707_0707;
    const A: u64 = 0x6161_6161_6161_6161;
    let end = text.len() + count;
    let mut chain = seed;
    while text.len() < end {
        chain = mix(chain);
        // Each byte becomes 'a' + 0..=22: no carry from one to the next.
        let eight = A + (chain & LOW) + ((chain >> 4) & HIGH);
        text.extend_from_slice(&eight.to_le_bytes());
    }
    text.truncate(end);
}

fn digits(mut value: u64, count: usize, text: &mut Vec<u8>) {
    let start = text.len();
    text.resize(start + count, b'0');
    for byte in text[start..].iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

pub fn name(number: u64, text: &mut Vec<u8>) {
    let bits = random(number, Purpose::Name);
    text.extend_from_slice(word(&FIRST_NAMES, bits).as_bytes());
    text.push(b' ');
    text.extend_from_slice(word(&LAST_NAMES, bits >> 32).as_bytes());
}

pub fn email(number: u64, text: &mut Vec<u8>) {
    let bits = random(number, Purpose::Email);
    letters(bits, 7, text);
    text.push(b'@');
    letters(bits.rotate_left(32), 5, text);
    text.extend_from_slice(b".com");
}

pub fn credit_card(number: u64, text: &mut Vec<u8>) {
    let bits = random(number, Purpose::Card);
    for group in 0..4 {
        if group > 0 {
            text.push(b' ');
        }
        digits((bits >> (16 * group)) & 0xFFFF, 4, text);
    }
}

pub fn city(number: u64, text: &mut Vec<u8>) {
    text.extend_from_slice(word(&CITIES, random(number, Purpose::Place)).as_bytes());
}

pub fn state(number: u64, text: &mut Vec<u8>) {
    text.extend_from_slice(word(&STATES, random(number, Purpose::Place) >> 32).as_bytes());
}

fn item_length(bits: u64) -> usize {
    3 + usize::from((bits >> 60) as u8)
}

pub fn item_name(number: u64, text: &mut Vec<u8>) {
    let bits = random(number, Purpose::Item);
    letters(bits, item_length(bits), text);
}

fn description_length(bits: u64) -> usize {
    3 + usize::from((bits >> 57) as u8) * 3 / 4
}

pub fn description(number: u64, text: &mut Vec<u8>) {
    let bits = random(number, Purpose::Description);
    letters(bits, description_length(bits), text);
}

/// One of four hot channels in half of the bids (none: one of the 10,000 others).
fn hot_channel(bits: u64) -> Option<&'static str> {
    (bits >> 63 > 0).then(|| word(&HOT_CHANNELS, bits))
}

pub fn channel(number: u64, text: &mut Vec<u8>) {
    let bits = random(number, Purpose::Channel);
    match hot_channel(bits) {
        Some(name) => text.extend_from_slice(name.as_bytes()),
        None => {
            text.extend_from_slice(b"channel-");
            decimal(below(bits, CHANNELS), text);
        }
    }
}

/// A hot channel has one URL, every other channel one of its own; nine of ten of these name the channel.
pub fn url(number: u64, text: &mut Vec<u8>) {
    let bits = random(number, Purpose::Channel);
    let hot = hot_channel(bits);
    let channel = if hot.is_some() { CHANNELS + below(bits, 4) } else { below(bits, CHANNELS) };
    let seed = random(channel, Purpose::Url);
    text.extend_from_slice(b"https://www.nexmark.com/");
    for part in 0..3 {
        letters(seed.wrapping_add(part), 5, text);
        text.push(b'/');
    }
    text.extend_from_slice(b"item.htm?query=1");
    if hot.is_none() && below(seed, 10) > 0 {
        text.extend_from_slice(b"&channel_id=");
        decimal(u64::from((channel as u32).reverse_bits() >> 1), text);
    }
}

fn decimal(value: u64, text: &mut Vec<u8>) {
    let count = value.checked_ilog10().map_or(1, |log| log as usize + 1);
    digits(value, count, text);
}

/// Filler that brings an event to its average size, give or take a fifth of what is missing.
pub fn extra(number: u64, text: &mut Vec<u8>) {
    let (average, others) = match kind(number) {
        Kind::Person => {
            let (name_bits, place_bits) = (random(number, Purpose::Name), random(number, Purpose::Place));
            let name = word(&FIRST_NAMES, name_bits).len() + 1 + word(&LAST_NAMES, name_bits >> 32).len();
            let place = word(&CITIES, place_bits).len() + word(&STATES, place_bits >> 32).len();
            (200, 8 + name + 17 + 19 + place + 8)
        }
        Kind::Auction => {
            let item = item_length(random(number, Purpose::Item));
            let description = description_length(random(number, Purpose::Description));
            (500, 8 + item + description + 6 * 8)
        }
        Kind::Bid => (100, 4 * 8),
    };
    let missing = average - others.min(average);
    let spread = missing / 5;
    let bits = random(number, Purpose::Extra);
    let length = missing - spread + usize::try_from(below(bits, 2 * spread as u64 + 1)).unwrap_or(0);
    letters(bits, length, text);
}
