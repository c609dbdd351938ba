//! Values that must not be seen: secrets that stand in a job's SQL text.

/// What is shown instead of what.
#[derive(Debug, Clone, Default)]
pub struct Redaction(Vec<(String, String)>);

impl Redaction {
    /// Variables by name, with values that are secret. The longest value is looked for first: another may be a part of it.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut known: Vec<_> = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        known.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        Self(known.into_iter().map(|(name, value)| (value, format!("${{{name}}}"))).collect())
    }

    /// The text with names for values.
    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (value, shown)| {
            if text.contains(value.as_str()) { text.replace(value, shown) } else { text }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_values() {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let redaction = Redaction::new([variable("A", "pass"), variable("B", "password-1"), variable("NONE", "")]);
        assert_eq!(redaction.apply("x=password-1 y=pass;"), "x=${B} y=${A};");
        assert_eq!(redaction.apply("nothing"), "nothing");
    }
}
