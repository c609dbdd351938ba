//! DS2 (Kalavri et al., OSDI 2018): how much each stage must take if everything before it keeps up, and how many tasks
//! that is. One traversal answers for all stages at once; fractional parallelism is never rounded on the way.

/// Rows a second asked of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    /// What arrives for good: must be carried at the target utilisation.
    pub steady: f64,
    /// What comes on top until the backlog is gone: may use all there is.
    pub catch_up: f64,
}

/// One stage as DS2 sees it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Demand from outside the system (sources only).
    pub external: Demand,
    /// Edges into it: index of the earlier stage, and rows over the edge per row that stage takes. `None`: not known.
    pub inputs: Vec<(usize, Option<f64>)>,
}

/// Demand on every stage (Eq. 8), `None` where an edge before it says nothing. `nodes` are in topological order: an edge
/// from a later node counts as unknown.
pub fn demands(nodes: &[Node]) -> Vec<Option<Demand>> {
    let mut demands: Vec<Option<Demand>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let mut sum = Some(node.external).filter(|demand| is_rate(demand.steady) && is_rate(demand.catch_up));
        for (from, ratio) in &node.inputs {
            let upstream = demands.get(*from).copied().flatten();
            sum = match (sum, upstream, ratio) {
                (Some(sum), Some(upstream), Some(ratio)) if is_rate(*ratio) => Some(Demand {
                    steady: sum.steady + upstream.steady * ratio,
                    catch_up: sum.catch_up + upstream.catch_up * ratio,
                }),
                _ => None,
            };
        }
        demands.push(sum);
    }
    demands
}

/// Fractional parallelism for `demand` at `true_rate` rows a second of useful time per task (Eq. 7 before the ceiling).
/// `None` if either says nothing: a rate of zero is a stage that did no work, not one that is infinitely slow.
pub fn parallelism(demand: f64, true_rate: f64) -> Option<f64> {
    (is_rate(demand) && true_rate.is_finite() && true_rate > 0.0).then(|| demand / true_rate)
}

/// The ceiling of Eq. 7, at least 1. A part in 10^9 above a whole number is rounding, not load.
pub fn tasks(fractional: f64) -> u32 {
    let whole = (fractional * (1.0 - 1e-9)).ceil();
    // `as` saturates, so an absurd demand becomes the largest number and is then bounded by policy.
    (whole as u32).max(1)
}

/// Mean true rate of a stage's tasks (Eq. 5 over p): rows per second of useful time, over the tasks that did something.
pub fn mean_rate(tasks: &[(u64, u64)]) -> Option<f64> {
    let rates: Vec<f64> = tasks
        .iter()
        .filter(|(records, busy_us)| *records > 0 && *busy_us > 0)
        .map(|(records, busy_us)| *records as f64 * 1e6 / *busy_us as f64)
        .collect();
    (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
}

fn is_rate(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}
