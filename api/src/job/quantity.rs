//! Quantities of bytes as Kubernetes writes them.

const SUFFIXES: [(&str, u64); 10] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
];

/// Bytes in `256Mi`, `10Gi`, `1.5G` or `1048576`; `None` if it is nothing of the kind.
pub fn parse_quantity(text: &str) -> Option<u64> {
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, *factor)))
        .unwrap_or((text, 1));
    if !number.starts_with(|c: char| c.is_ascii_digit()) || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    (bytes.is_finite() && bytes < 9e15).then_some(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::parse_quantity;

    #[test]
    fn quantities_of_kubernetes() {
        for (text, bytes) in [("256Mi", 256 << 20), ("10Gi", 10 << 30), ("1.5k", 1500), ("1048576", 1 << 20), ("0", 0)]
        {
            assert_eq!(parse_quantity(text), Some(bytes), "{text}");
        }
        for text in ["", "Mi", "-1Mi", "1 Mi", "1mb", "1.2.3", "1e3", "99999999P", "½"] {
            assert_eq!(parse_quantity(text), None, "{text}");
        }
    }
}
