//! `docs/reference.md`: every setting, connector option and metric, from the catalogues of the code.
use millstream_api::{job::setting, metric};
use millstream_runtime::connector::{self, options::OptionDoc};

/// The whole page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Reference\n\nGenerated from the code by `make generate`. What the words mean is in [sql.md](sql.md), \
         [run.md](run.md) and [autoscaling.md](autoscaling.md).\n\n## Settings\n\n\
         Entries of `spec.settings`, `SET 'name' = 'value'` in the SQL text, or `--set name=value`.\n\n\
         | setting | default | meaning |\n| --- | --- | --- |\n",
    );
    for entry in setting::CATALOGUE {
        let name =
            if entry.per_stage { format!("`{0}`, `{0}.STAGE`", entry.name) } else { format!("`{}`", entry.name) };
        page.push_str(&row(&[&name, &code(entry.default), entry.doc]));
    }
    page.push_str("\n## Connectors\n");
    for connector in connector::all() {
        page.push_str(&format!("\n### {}\n\n{}\n", connector.name, connector.doc));
        for (role, options) in [("read", connector.source), ("written", connector.sink)] {
            if let Some(options) = options {
                page.push_str(&table(role, options));
            }
        }
    }
    page.push_str("\n## Metrics\n\nAt `/metrics` of the coordinator's API and of every worker's admin port.\n\n");
    page.push_str("| metric | labels | meaning |\n| --- | --- | --- |\n");
    for metric in metric::CATALOGUE.iter().filter(|metric| metric.role != metric::Role::Operator) {
        page.push_str(&row(&[&code(metric.name), &code(&metric.labels.join(", ")), metric.help]));
    }
    page
}

fn table(role: &str, options: &[OptionDoc]) -> String {
    if options.is_empty() {
        return format!("\nWhen {role}: no options.\n");
    }
    let mut text = format!("\nWhen {role}:\n\n| option | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for option in options {
        let default = match (option.required, option.default) {
            (true, _) => "required".to_owned(),
            (false, Some(default)) => code(default),
            (false, None) => String::new(),
        };
        text.push_str(&row(&[&code(option.name), &option.kind.expected(), &default, option.doc]));
    }
    text
}

pub fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
}

pub fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
