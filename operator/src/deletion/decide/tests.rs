use super::*;

fn facts() -> Facts {
    Facts { policy: DeletionPolicy::Delete, has_run: true, ..Facts::default() }
}

fn said(state: JobState) -> Answer {
    Answer::Said(state, Expect::at(7))
}

#[test]
fn a_job_is_erased_by_its_coordinator_and_goes_with_the_last_of_its_pods() {
    let up = Facts { is_up: true, has_pods: true, coordinators: vec!["one".into()], ..facts() };
    let erased = Facts { erased_by: Some("one".into()), answer: said(JobState::Stopped), ..up.clone() };
    let down = Facts { is_up: false, ..erased.clone() };
    for (what, facts, step) in [
        ("runs", Facts { answer: said(JobState::Running), ..up.clone() }, Step::Stop(Expect::at(7))),
        ("recovers", Facts { answer: said(JobState::Recovering), ..up.clone() }, Step::Stop(Expect::at(7))),
        ("stops", Facts { answer: said(JobState::Stopping), ..up.clone() }, Step::Wait),
        ("stopped", Facts { answer: said(JobState::Stopped), ..up.clone() }, Step::Erase),
        ("failed", Facts { answer: said(JobState::Failed), ..up.clone() }, Step::Erase),
        ("erased", erased.clone(), Step::ToZero),
        ("a coordinator still ends", down.clone(), Step::Wait),
        ("workers still end", Facts { coordinators: Vec::new(), ..down.clone() }, Step::LetGo),
        // It has claimed a term, and may have written it.
        ("another coordinator", Facts { coordinators: vec!["two".into()], ..erased.clone() }, Step::Erase),
        ("both", Facts { coordinators: vec!["one".into(), "two".into()], ..erased }, Step::Erase),
        // The operator does not know any more that it is erased: it is done again.
        ("forgotten", Facts { erased_by: None, answer: Answer::Absent, ..down }, Step::Wait),
    ] {
        assert_eq!(decide(&facts), step, "{what}");
    }
}

#[test]
fn a_pod_erases_what_no_coordinator_can() {
    let up = Facts { is_up: true, has_pods: true, coordinators: vec!["one".into()], ..facts() };
    for (what, facts, step) in [
        ("suspended", facts(), Step::Start),
        ("nobody is there", Facts { is_up: true, ..facts() }, Step::ToZero),
        ("starts", Facts { since_ms: 9_000, ..up.clone() }, Step::Wait),
        ("does not start", Facts { since_ms: 11_000, ..up.clone() }, Step::ToZero),
        ("silent", Facts { answer: Answer::Silent(9_000), since_ms: 20_000, ..up.clone() }, Step::Wait),
        ("dead", Facts { answer: Answer::Silent(11_000), ..up.clone() }, Step::ToZero),
        ("its pods go", Facts { is_up: false, since_ms: 11_000, ..up }, Step::Wait),
        ("under way", Facts { clean_up: CleanUp::Running, ..facts() }, Step::Wait),
        ("done", Facts { clean_up: CleanUp::Succeeded, since_ms: 400_000, ..facts() }, Step::LetGo),
        ("failed", Facts { clean_up: CleanUp::Failed("no".into()), ..facts() }, Step::GiveUp("no".into())),
    ] {
        assert_eq!(decide(&facts), step, "{what}");
    }
}

#[test]
fn a_job_does_not_stay_for_ever() {
    let stuck = Facts { is_up: true, has_pods: true, since_ms: 300_001, answer: said(JobState::Running), ..facts() };
    let given_up = |facts: &Facts| matches!(decide(facts), Step::GiveUp(_));
    assert!(given_up(&stuck) && given_up(&Facts { clean_up: CleanUp::Running, ..stuck.clone() }));
    assert!(given_up(&Facts { since_ms: 0, is_namespace_going: true, ..stuck.clone() }));
    // Another policy acts at once, and what has never run has left nothing.
    assert_eq!(decide(&Facts { policy: DeletionPolicy::Retain, ..stuck.clone() }), Step::LetGo);
    assert_eq!(decide(&Facts { has_run: false, is_namespace_going: true, ..stuck }), Step::LetGo);
}
