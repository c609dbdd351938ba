//! Key hash and key group: our own documented, versioned functions.
//!
//! A row finds its key group, and through the owner table its task, by the hash of its key columns. State written by one
//! version is found again by another only if the hash never changes, so this page is a format: the golden vectors in
//! the tests hold it, and a change needs a new [`HASH_VERSION`].
//!
//! **Coercion.** Every value is first one of [`KeyValue`]: integers of all widths, dates and timestamps become an `i64`
//! (dates and timestamps in ms since 1970, rounded down; an unsigned 64-bit number keeps its bits), floats become an
//! `f64`, text and binary their bytes, decimals an unscaled `i128` and a scale without trailing zeros.
//!
//! **Hash.** Arithmetic is modulo 2^64. `mix` is the finaliser of splitmix64. The hash starts at `SEED` and takes the
//! columns in order: `hash = mix(rotate_left(hash, 29) + word)`, where `word` is
//!
//! | value | word |
//! | --- | --- |
//! | null | `NULL_WORD` |
//! | bool | 0 or 1 |
//! | int | its 64 bits |
//! | float | bits of the `f64`; -0.0 counts as 0.0, every NaN as 0x7ff8000000000000 |
//! | bytes | `bytes_word` |
//! | decimal | `mix(low 64 bits of the unscaled value + scale) + high 64 bits` |
//!
//! `bytes_word`: start with `SEED ^ length`; for each 8 bytes (little endian, the last ones filled with zeros)
//! `word = fold((word ^ chunk) * BYTES_FACTOR)`, where the product has 128 bits and `fold` is its low xor its high half.
//!
//! **Key group.** The high 32 bits of the hash, scaled: `((hash >> 32) * key_groups) >> 32`.
use crate::id::KeyGroup;

/// Version of the functions of this module; written into every manifest.
pub const HASH_VERSION: u32 = 1;
/// Most key groups a job may have.
pub const KEY_GROUPS_MAX: u32 = 32_768;
/// Key groups of a job that does not set them.
pub const KEY_GROUPS_DEFAULT: u32 = 256;

/// Where every hash starts.
pub const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// The word of a null.
pub const NULL_WORD: u64 = 0x6e75_6c6c_6e75_6c6c;
const BYTES_FACTOR: u64 = 0xa076_1d64_78bd_642f;
const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

/// A key column's value after coercion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyValue<'a> {
    /// No value.
    Null,
    /// Truth value.
    Bool(bool),
    /// Integers of all widths; dates and timestamps in ms.
    Int(i64),
    /// Floats of all widths.
    Float(f64),
    /// Text (UTF-8) and binary.
    Bytes(&'a [u8]),
    /// `unscaled * 10^-scale`.
    Decimal(i128, i8),
}

impl KeyValue<'_> {
    /// What this value adds to the hash.
    pub fn word(self) -> u64 {
        match self {
            Self::Null => NULL_WORD,
            Self::Bool(value) => u64::from(value),
            Self::Int(value) => value as u64,
            Self::Float(value) => float_word(value),
            Self::Bytes(value) => bytes_word(value),
            Self::Decimal(unscaled, scale) => decimal_word(unscaled, scale),
        }
    }
}

/// The word of a float: equal numbers have equal words.
#[inline]
pub fn float_word(value: f64) -> u64 {
    if value == 0.0 {
        0
    } else if value.is_nan() {
        CANONICAL_NAN
    } else {
        value.to_bits()
    }
}

/// The word of text or binary.
#[inline]
pub fn bytes_word(bytes: &[u8]) -> u64 {
    let mut word = SEED ^ bytes.len() as u64;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        word = fold(word ^ u64::from_le_bytes(*chunk));
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        word = fold(word ^ u64::from_le_bytes(last));
    }
    word
}

/// The word of a decimal: 1.50 and 1.5 have the same.
pub fn decimal_word(mut unscaled: i128, mut scale: i8) -> u64 {
    while unscaled != 0 && unscaled % 10 == 0 && scale > i8::MIN {
        unscaled /= 10;
        scale -= 1;
    }
    if unscaled == 0 {
        scale = 0;
    }
    let (low, high) = (unscaled as u64, (unscaled >> 64) as u64);
    mix(low.wrapping_add(i64::from(scale) as u64)).wrapping_add(high)
}

/// The hash of a key so far, with one more column.
#[inline]
pub fn combine(hash: u64, word: u64) -> u64 {
    mix(hash.rotate_left(29).wrapping_add(word))
}

/// The hash of a key.
pub fn hash(key: &[KeyValue<'_>]) -> u64 {
    key.iter().fold(SEED, |hash, value| combine(hash, value.word()))
}

/// The key group of a hash; `key_groups` is at most [`KEY_GROUPS_MAX`].
#[inline]
pub fn group_of(hash: u64, key_groups: u32) -> KeyGroup {
    // Below `key_groups`, which fits.
    (((hash >> 32) * u64::from(key_groups)) >> 32) as KeyGroup
}

#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[inline]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(BYTES_FACTOR);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden vectors: (key, hash, group of 256), computed by another implementation of the page above. Never edit one: add a new version instead.
    fn golden() -> Vec<(Vec<KeyValue<'static>>, u64, KeyGroup)> {
        use KeyValue::{Bool, Bytes, Decimal, Float, Int, Null};
        vec![
            (vec![], SEED, 158),
            (vec![Null], 0x9bbe_6d33_e67c_6d68, 155),
            (vec![Bool(true)], 0x1aa3_4dc8_7cc3_6766, 26),
            (vec![Int(0)], 0x8b08_14ef_c3e8_bf82, 139),
            (vec![Int(1)], 0x1aa3_4dc8_7cc3_6766, 26),
            (vec![Int(-1)], 0x9d2d_c070_df65_7f4b, 157),
            (vec![Int(i64::MAX)], 0x2cda_24a2_e664_dc2d, 44),
            (vec![Float(0.5)], 0xefa1_d84e_c5ce_4345, 239),
            (vec![Float(f64::NAN)], 0xd753_f86e_a17d_1912, 215),
            (vec![Bytes(b"")], 0xfbd1_4aea_d941_5894, 251),
            (vec![Bytes(b"abc")], 0x3a9c_9a96_1ca3_ce73, 58),
            (vec![Bytes(b"12345678")], 0x5821_267d_8c15_e18c, 88),
            (vec![Bytes("Grüße aus Köln".as_bytes())], 0xc08c_18be_b334_3a30, 192),
            (vec![Decimal(150, 2)], 0xdef6_fc32_8521_f98b, 222),
            (vec![Decimal(-(1 << 100), 7)], 0xd70e_eee3_3aaa_59a0, 215),
            (vec![Int(7), Bytes(b"x"), Null], 0x2430_b8c3_84aa_5468, 36),
        ]
    }

    #[test]
    fn golden_vectors_hold() {
        for (key, expected, group) in golden() {
            let hash = hash(&key);
            assert_eq!((hash, group_of(hash, 256)), (expected, group), "{key:?} is {hash:#018x}");
        }
    }

    #[test]
    fn equal_values_have_equal_hashes() {
        let one = |value| hash(&[value]);
        assert_eq!(one(KeyValue::Float(-0.0)), one(KeyValue::Float(0.0)));
        assert_eq!(one(KeyValue::Float(-f64::NAN)), one(KeyValue::Float(f64::NAN)));
        assert_eq!(one(KeyValue::Decimal(1500, 3)), one(KeyValue::Decimal(15, 1)));
        assert_eq!(one(KeyValue::Decimal(0, 3)), one(KeyValue::Decimal(0, 0)));
        assert_ne!(hash(&[KeyValue::Int(1), KeyValue::Int(2)]), hash(&[KeyValue::Int(2), KeyValue::Int(1)]));
        assert_ne!(one(KeyValue::Bytes(b"a")), one(KeyValue::Bytes(b"a\0")));
    }

    #[test]
    fn sequential_keys_spread_evenly_over_groups() {
        for key_groups in [1, 7, 256, KEY_GROUPS_MAX] {
            let mut counts = vec![0u32; key_groups as usize];
            for key in 0..i64::from(key_groups) * 100 {
                counts[usize::from(group_of(hash(&[KeyValue::Int(key)]), key_groups))] += 1;
            }
            // 100 expected, standard deviation 10: seven of them either way.
            assert!(counts.iter().all(|count| (30..=170).contains(count)), "{key_groups}: {counts:?}");
        }
    }
}
