//! A decision in one line a person can check with a pocket calculator.
use super::decision::{Binding, Reason};
use super::recommend::StageRecommendation;

/// `window-1 1 -> 6: offered 100,000/s + backlog 12,000 puts 92,000/s on it: needs 5.1 tasks at 24,900/s true rate each
/// (target 80 %, backlog gone in 30 s), 256 key groups make it 6`.
pub fn explain(said: &StageRecommendation) -> String {
    let inputs = &said.inputs;
    let change = if said.from == said.to {
        format!("{} stays {}", said.stage, said.from)
    } else {
        format!("{} {} -> {}", said.stage, said.from, said.to)
    };
    let backlog =
        if inputs.lag_records >= 1.0 { format!(" + backlog {}", thousands(inputs.lag_records)) } else { String::new() };
    let (Some(need), Some(rate), Some(steady)) = (inputs.need, inputs.true_rate_per_task, inputs.steady_per_s) else {
        return match said.reason {
            Reason::OutOfBounds => format!("{change}: bounds are {} to {}", inputs.min, inputs.max),
            Reason::WarmUp => format!("{change}: warming up"),
            _ => format!("{change}: no information"),
        };
    };
    let share = if (steady - inputs.offered_per_s).abs() > 0.5 {
        format!(" puts {}/s on it:", thousands(steady))
    } else {
        String::new()
    };
    let target = format!("target {:.0} %", inputs.target_utilization * 100.0);
    let catch_up =
        if inputs.lag_records >= 1.0 { format!(", backlog gone in {:.0} s", inputs.catch_up_s) } else { String::new() };
    format!(
        "{change}: offered {}/s{backlog}{share} needs {need:.1} tasks at {}/s true rate each ({target}{catch_up}){}",
        thousands(inputs.offered_per_s),
        thousands(rate),
        bound(said),
    )
}

fn bound(said: &StageRecommendation) -> String {
    let inputs = &said.inputs;
    let units = inputs.units.unwrap_or(0);
    let limit = match said.binding {
        Some(Binding::Units) => format!(", {units} indivisible groups make it {}", said.to),
        Some(Binding::UnitsExhausted) => format!(", there are only {units} groups"),
        Some(Binding::Minimum) => format!(", minimum is {}", inputs.min),
        Some(Binding::Maximum) => format!(", maximum is {}", inputs.max),
        None => String::new(),
    };
    let note = match said.reason {
        Reason::Backlog => ", the backlog decides",
        Reason::BackPressure => ", a source is held back",
        Reason::Lagging => ", but the backlog comes first",
        Reason::MinorChange => ", too little to move for",
        Reason::Skew => ", but one task has most of the load: its key groups are spread",
        _ => "",
    };
    format!("{limit}{note}")
}

/// `12,345` for 12345.4.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("{sign}{digits}");
    }
    let mut grouped = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_grouped() {
        for (value, text) in
            [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (-1234567.0, "-1,234,567"), (f64::NAN, "NaN")]
        {
            assert_eq!(thousands(value), text);
        }
    }
}
