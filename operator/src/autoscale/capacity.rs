//! What whole tasks can carry when the work comes in indivisible units (key groups, source splits).

/// Capacity of `tasks` over `units` equal units, in tasks: the busiest task has `ceil(units / tasks)` of them and sets the
/// pace. Without units every task counts in full.
pub fn effective(tasks: u32, units: Option<u32>) -> f64 {
    match units {
        Some(units) if units > 0 && tasks > 0 => f64::from(units) / f64::from(units.div_ceil(tasks)),
        _ => f64::from(tasks),
    }
}

/// The least number of tasks whose effective capacity is at least `need`, `None` if no number is (more than one task per
/// unit adds nothing).
pub fn least_tasks(need: f64, units: Option<u32>) -> Option<u32> {
    let first = super::ds2::tasks(need);
    match units {
        Some(units) => {
            (first..=units.max(1)).find(|tasks| effective(*tasks, Some(units.max(1))) >= need * (1.0 - 1e-9))
        }
        None => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_groups_cost_capacity() {
        // From elasticity.md 2.6: over 128 groups 28 tasks act like 25.6 and 20 like 18.3.
        assert_eq!(effective(28, Some(128)), 25.6);
        assert!((effective(20, Some(128)) - 18.2857).abs() < 1e-4);
        assert_eq!(effective(4, Some(256)), 4.0);
        assert_eq!(effective(7, None), 7.0);
    }

    #[test]
    fn least_tasks_looks_past_useless_sizes() {
        assert_eq!(least_tasks(26.0, Some(128)), Some(32), "26..=31 tasks all have a task with 5 groups");
        assert_eq!(least_tasks(4.1, Some(256)), Some(5));
        assert_eq!(least_tasks(3.0, Some(4)), Some(4), "3 tasks over 4 splits act like 2");
        assert_eq!(least_tasks(4.5, Some(4)), None);
        assert_eq!(least_tasks(0.0, Some(8)), Some(1));
        assert_eq!(least_tasks(4.5, None), Some(5));
    }
}
