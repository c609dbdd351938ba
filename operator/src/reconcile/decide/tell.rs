//! Events for a person, of what the control loop reports.
use millstream_api::wire::RescaleState;

use crate::control::{Event, Mode, Report};
use crate::event::{Happened, News};

/// What of the control loop's reports a person wants to read.
pub(super) fn told(report: &Report, mode: Mode) -> Vec<News> {
    match &report.event {
        Event::Decision(decision) => {
            let happened = if mode == Mode::Advise { Happened::ScalingAdvised } else { Happened::ScalingDecided };
            vec![News::new(happened, decision.explanation.clone())]
        }
        Event::Rescale(rescale) => {
            let to = rescale.to.iter().map(|(name, tasks)| format!("{name} {tasks}")).collect::<Vec<_>>().join(", ");
            let why = rescale.reason.as_deref().unwrap_or("no reason given");
            let ended = match rescale.state {
                RescaleState::Done => {
                    let note = format!("reached {to}; {} key groups moved", rescale.groups_moved);
                    News::new(Happened::RescaleFinished, note)
                }
                state => News::new(Happened::RescaleFailed, format!("{to}: {}: {why}", state.name())),
            };
            let hot = rescale.hot.iter().map(|hot| News::new(Happened::HotKeyGroup, hot.to_string()));
            std::iter::once(ended).chain(hot).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use millstream_api::wire::{HotGroup, RescaleStatus};

    use super::*;

    #[test]
    fn a_key_group_that_no_table_spreads_is_an_event_of_its_own() {
        let hot = vec![HotGroup { stage: "window-1".into(), group: 7, share: 0.931 }];
        let to = [("window-1".to_owned(), 4)].into();
        let rescale = RescaleStatus { state: RescaleState::Done, to, groups_moved: 3, hot, ..RescaleStatus::default() };
        let news = told(&Report { at_ms: 0, event: Event::Rescale(rescale) }, Mode::Auto);
        let note = "key group 7 alone has 93 % of the load of window-1: a single hot key, or several that share the group; no \
                    table spreads it";
        let expected =
            [(Happened::RescaleFinished, "reached window-1 4; 3 key groups moved"), (Happened::HotKeyGroup, note)];
        assert_eq!(news, expected.map(|(happened, note)| News::new(happened, note)));
    }
}
