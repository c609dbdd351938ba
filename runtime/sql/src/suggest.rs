//! "Did you mean": the known name nearest to a mistyped one.

/// The candidate that looks like `name`: the same but for case, else the nearest by edits if that is near at all.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let limit = (lower.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Advice for an unknown name: the nearest one, else what there is.
pub(crate) fn advice<'a>(name: &str, kind: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(candidate) = nearest(name, candidates.clone()) {
        return format!("did you mean \"{candidate}\"?");
    }
    const SHOWN: usize = 20;
    let mut names: Vec<&str> = candidates.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 => String::new(),
        count if count <= SHOWN => format!("{kind}: {}", names.join(", ")),
        count => format!("{kind}: {}, and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}

/// Levenshtein's distance. Long names are cut: nobody mistypes the hundredth character only.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("pric", ["price", "bidder"]), Some("price"));
        assert_eq!(nearest("DATETIME", ["dateTime"]), Some("dateTime"));
        assert_eq!(nearest("xyz", ["price", "bidder"]), None);
        assert_eq!(advice("xyz", "columns", ["price", "bidder"]), "columns: bidder, price");
    }
}
