//! Java's date patterns (`yyyy-MM-dd HH:mm:ss.SSS`) as strftime's.

/// The same format, or the letter that has no counterpart.
pub(super) fn to_strftime(pattern: &str) -> Result<String, char> {
    let mut output = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(letter) = chars.next() {
        if letter == '\'' {
            if chars.peek() == Some(&'\'') {
                chars.next();
                output.push('\'');
                continue;
            }
            for quoted in chars.by_ref().take_while(|c| *c != '\'') {
                push_literal(&mut output, quoted);
            }
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            push_literal(&mut output, letter);
            continue;
        }
        let mut count = 1;
        while chars.peek() == Some(&letter) {
            chars.next();
            count += 1;
        }
        output.push_str(match (letter, count) {
            ('y' | 'u', 4) => "%Y",
            ('y' | 'u', 2) => "%y",
            ('M', 2) => "%m",
            ('M', 3) => "%b",
            ('M', 4) => "%B",
            ('d', 2) => "%d",
            ('D', 3) => "%j",
            ('H', 2) => "%H",
            ('h', 2) => "%I",
            ('m', 2) => "%M",
            ('s', 2) => "%S",
            ('S', 3) => "%3f",
            ('S', 6) => "%6f",
            ('E', 1..=3) => "%a",
            ('E', 4) => "%A",
            ('a', 1) => "%p",
            _ => return Err(letter),
        });
    }
    Ok(output)
}

fn push_literal(output: &mut String, letter: char) {
    if letter == '%' {
        output.push('%');
    }
    output.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_translated_or_refused() {
        assert_eq!(to_strftime("yyyy-MM-dd HH:mm:ss.SSS"), Ok("%Y-%m-%d %H:%M:%S.%3f".to_owned()));
        assert_eq!(to_strftime("yyyy-MM-dd'T'HH:mm 100%"), Ok("%Y-%m-%dT%H:%M 100%%".to_owned()));
        assert_eq!(to_strftime("QQ"), Err('Q'));
    }
}
