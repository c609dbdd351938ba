//! Whether a spec keeps the rules of its resource. These have patterns that are compiled at each look, which takes longer than all the
//! rest of a turn: what was found is remembered as long as the spec is the same.
use millstream_api::crd::{Reason, StreamJob};
use millstream_api::job::{self, Settings};

use super::admit::Rejection;

/// What was found, and of which generation.
pub type Checked = Option<(Option<i64>, Result<Settings, Rejection>)>;

/// Looks at a spec that was not looked at yet.
pub fn check(job: &StreamJob, known: &mut Checked) -> Result<Settings, Rejection> {
    let generation = job.metadata.generation;
    match known {
        Some((of, found)) if *of == generation => found.clone(),
        _ => {
            let found = millstream_api::crd::check(&job::StreamJob::from(job));
            let found =
                found.map_err(|invalid| Rejection { reason: Reason::InvalidSpec, message: invalid.to_string() });
            known.insert((generation, found)).1.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_looked_at_again_when_it_is_another() {
        let mut job = StreamJob::from(job::StreamJob::from_sql("orders", "SELECT 1".into()));
        let mut known = None;
        job.metadata.generation = Some(1);
        assert!(check(&job, &mut known).is_ok());
        job.spec.parallelism = 0;
        assert!(check(&job, &mut known).is_ok(), "the same generation has the same spec");
        job.metadata.generation = Some(2);
        let refused = check(&job, &mut known).unwrap_err();
        assert!(refused.message.contains("spec.parallelism"), "{refused:?}");
        assert_eq!(check(&job, &mut known), Err(refused));
    }
}
