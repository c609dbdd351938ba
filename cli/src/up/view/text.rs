//! Numbers and bars as text.

/// `1.2 M`, `98.2 k`, `512`.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 9_999_500.0 => format!("{:.1} M", value / 1e6),
        size if size >= 999_950.0 => format!("{:.2} M", value / 1e6),
        size if size >= 9_999.5 => format!("{:.1} k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}

/// `1.5 MiB`.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (value as f64, 0);
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{size:.0} {}", UNITS[unit]) } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// Splits `width` cells by shares that sum to at most 1; the rest goes to the last.
pub fn cells(width: usize, first: f64, second: f64) -> (usize, usize, usize) {
    let part = |share: f64| if share.is_finite() { (share.clamp(0.0, 1.0) * width as f64).round() as usize } else { 0 };
    let first = part(first).min(width);
    let second = part(second).min(width - first);
    (first, second, width - first - second)
}

/// `values` in at most `width` blocks, scaled to their maximum or to `most` if that is larger.
pub fn spark(values: &[f64], width: usize, most: f64) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = squeeze(values, width);
    let most = shown.iter().copied().fold(most, f64::max);
    let block = |value: &f64| {
        let level = if most > 0.0 { (value / most * 7.0).round() as usize } else { 0 };
        BLOCKS[level.min(7)]
    };
    shown.iter().map(block).collect()
}

/// At most `width` values: the maximum of each of as many equal runs.
fn squeeze(values: &[f64], width: usize) -> Vec<f64> {
    if width == 0 {
        return Vec::new();
    }
    let run = values.len().div_ceil(width).max(1);
    values.chunks(run).map(|chunk| chunk.iter().copied().fold(0.0, f64::max)).collect()
}

/// A round number not below `value`, for the top of an axis.
pub fn ceiling(value: f64) -> f64 {
    if !value.is_finite() || value <= 10.0 {
        return 10.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= value)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [999.0, 9_999.0, 12_345.0, 1_234_567.0, 98_765_432.0].map(short),
            ["999", "9999", "12.3 k", "1.23 M", "98.8 M"]
        );
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([3.0, 101.0, 99_000.0].map(ceiling), [10.0, 150.0, 100_000.0]);
    }

    #[test]
    fn bars_fill_their_width() {
        assert_eq!(cells(10, 0.5, 0.25), (5, 3, 2));
        assert_eq!(cells(10, 1.2, 0.5), (10, 0, 0));
        assert_eq!(cells(10, f64::NAN, 0.0), (0, 0, 10));
        assert_eq!(spark(&[1.0, 1.0, 4.0, 8.0], 4, 0.0), "▂▂▅█");
        assert_eq!(spark(&[0.0, 0.0], 4, 0.0), "▁▁");
        assert_eq!(spark(&[1.0, 8.0, 1.0, 1.0], 2, 0.0), "█▂");
        assert_eq!(spark(&[1.0], 0, 0.0), "");
        assert_eq!(spark(&[1.0, 1.0], 2, 7.0), "▂▂");
    }
}
