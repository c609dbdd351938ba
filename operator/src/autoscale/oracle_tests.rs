//! The published and computed oracles of DS2 (Millstream's own arithmetic must give exactly these).
use super::ds2::{Demand, Node, demands, parallelism, tasks};

/// Sources, then a chain of two stages; `stages` are the true rates (taken, given) of each task.
fn chain(sources: &[f64], stages: [&[(f64, f64)]; 2]) -> Vec<f64> {
    let source = |rate: &f64| Node { external: Demand { steady: *rate, catch_up: 0.0 }, inputs: Vec::new() };
    let mut nodes: Vec<Node> = sources.iter().map(source).collect();
    let first = nodes.len();
    let ratio = |tasks: &[(f64, f64)]| {
        tasks.iter().map(|(_, given)| given).sum::<f64>() / tasks.iter().map(|(taken, _)| taken).sum::<f64>()
    };
    nodes.push(Node { inputs: (0..first).map(|from| (from, Some(1.0))).collect(), ..Node::default() });
    nodes.push(Node { inputs: vec![(first, Some(ratio(stages[0])))], ..Node::default() });
    let demands = demands(&nodes);
    stages
        .iter()
        .enumerate()
        .map(|(stage, tasks)| {
            let rate = tasks.iter().map(|(taken, _)| taken).sum::<f64>() / tasks.len() as f64;
            parallelism(demands[first + stage].unwrap().steady, rate).unwrap()
        })
        .collect()
}

#[test]
fn the_six_unit_oracles() {
    for (sources, op1, op2, expected) in [
        (vec![100.0], (50.0, 400.0), 100.0, [2, 8]),
        (vec![200.0], (40.0, 700.0), 99.0, [5, 36]),
        (vec![200.0], (10.0, 700.0), 201.0, [20, 70]),
        (vec![100.0, 100.0], (50.0, 400.0), 100.0, [4, 16]),
        (vec![200.0, 200.0], (40.0, 700.0), 99.0, [10, 71]),
        (vec![200.0, 200.0], (10.0, 700.0), 201.0, [40, 140]),
    ] {
        let fractional = chain(&sources, [&[op1], &[(op2, 0.0)]]);
        assert_eq!(fractional.into_iter().map(tasks).collect::<Vec<_>>(), expected, "{sources:?} {op1:?} {op2}");
    }
}

#[test]
fn the_word_count_traces() {
    for (source, splitters, counter, measured, external) in [
        (109705.37, [(122512.73, 1244599.95), (122613.65, 1246045.87)], 1845391.07, [0.895, 0.604], [0.653, 0.440]),
        (116939.79, [(131386.98, 1334954.83), (123157.49, 1251393.47)], 1663458.76, [0.919, 0.714], [0.629, 0.489]),
        (119930.98, [(94787.41, 962970.22), (92095.47, 936020.13)], 1576794.34, [1.283, 0.773], [0.856, 0.516]),
        (108193.91, [(116090.26, 1179743.94), (113231.66, 1150538.34)], 1907733.51, [0.944, 0.576], [0.698, 0.426]),
    ] {
        for (rate, expected) in [(source, measured), (80_000.0, external)] {
            let fractional = chain(&[rate], [&splitters, &[(counter, 0.0)]]);
            let rounded: Vec<f64> = fractional.iter().map(|value| (value * 1e3).round() / 1e3).collect();
            assert_eq!(rounded, expected, "source {rate}");
        }
    }
}

/// DS2's experiment (a): 1 M sentences a minute of 20 words, splitters of 100 K, counters of 1 M a minute: 10 and 20 at once.
#[test]
fn the_rate_limited_word_count_needs_one_decision() {
    let fractional = chain(&[1e6 / 60.0], [&[(1e5 / 60.0, 2e6 / 60.0)], &[(1e6 / 60.0, 0.0)]]);
    assert_eq!(fractional.into_iter().map(tasks).collect::<Vec<_>>(), [10, 20]);
}

/// Nexmark Q1 mapper: parallelism, records a second (elasticity.md 2.5).
pub(super) const CURVE: [(u32, f64); 13] = [
    (1, 529_573.0),
    (2, 966_817.0),
    (4, 1_829_696.0),
    (6, 2_535_503.0),
    (7, 2_936_889.0),
    (8, 3_118_478.0),
    (10, 3_721_099.0),
    (14, 4_624_714.0),
    (15, 4_967_828.0),
    (20, 6_350_677.0),
    (21, 6_465_250.0),
    (25, 7_089_387.0),
    (26, 7_476_392.0),
];

/// What `tasks` can process together: linear interpolation of the curve, proportional beyond its end.
pub(super) fn ability(tasks: u32) -> f64 {
    let (p, at) = (f64::from(tasks), CURVE.iter().position(|(p, _)| *p >= tasks));
    match at {
        Some(0) => CURVE[0].1 * p,
        Some(at) => {
            let ((p0, r0), (p1, r1)) = (CURVE[at - 1], CURVE[at]);
            r0 + (r1 - r0) * (p - f64::from(p0)) / (f64::from(p1) - f64::from(p0))
        }
        None => CURVE[12].1 * p / 26.0,
    }
}

#[test]
fn the_scaling_curve_oracle() {
    type Start = (u32, &'static [u32]);
    let table: [(f64, u32, [Start; 6]); 3] = [
        (
            4e6,
            12,
            [(1, &[8, 11, 12]), (8, &[11, 12]), (12, &[]), (16, &[13, 12]), (20, &[13, 12]), (24, &[14, 13, 12])],
        ),
        (5e6, 16, [(1, &[10, 14, 16]), (8, &[13, 15, 16]), (12, &[15, 16]), (16, &[]), (20, &[16]), (24, &[18, 16])]),
        (6e6, 19, [(1, &[12, 18, 19]), (8, &[16, 19]), (12, &[18, 19]), (16, &[19]), (20, &[19]), (24, &[21, 20, 19])]),
    ];
    for (target, optimum, starts) in table {
        assert!(ability(optimum) >= target && ability(optimum - 1) < target, "{optimum} is the least for {target}");
        for (start, expected) in starts {
            let (mut p, mut steps) = (start, Vec::new());
            loop {
                let next = tasks(parallelism(target, ability(p) / f64::from(p)).unwrap());
                if next == p {
                    break;
                }
                steps.push(next);
                p = next;
            }
            assert_eq!(steps, expected, "{target} from {start}");
        }
    }
}

#[test]
fn no_information_gives_no_demand() {
    assert_eq!(parallelism(100.0, 0.0), None);
    assert_eq!(parallelism(100.0, f64::NAN), None);
    assert_eq!(parallelism(f64::NAN, 10.0), None);
    assert_eq!(parallelism(-1.0, 10.0), None);
    let nodes = [
        Node { external: Demand { steady: f64::INFINITY, catch_up: 0.0 }, inputs: Vec::new() },
        Node { inputs: vec![(0, Some(1.0))], ..Node::default() },
        Node { external: Demand { steady: 5.0, catch_up: 1.0 }, inputs: Vec::new() },
        Node { inputs: vec![(2, None)], ..Node::default() },
        Node { inputs: vec![(2, Some(-1.0))], ..Node::default() },
        Node { inputs: vec![(2, Some(2.0))], ..Node::default() },
        Node { inputs: vec![(7, Some(2.0))], ..Node::default() },
    ];
    let known: Vec<_> = demands(&nodes);
    assert_eq!(known[..2], [None, None]);
    assert_eq!(known[3..5], [None, None]);
    assert_eq!(known[5], Some(Demand { steady: 10.0, catch_up: 2.0 }));
    assert_eq!(known[6], None);
}
