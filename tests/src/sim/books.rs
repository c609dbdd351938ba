//! What must hold while a run goes on, and what is counted for its report.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::{Generation, TaskId};
use millstream_runtime::checkpoint::manifest::Manifest;
use millstream_runtime::coordinator::place::StageShape;
use millstream_runtime::exchange::ChannelId;
use millstream_runtime::exchange::frame::{HEADER_BYTES, Header, Kind};
use millstream_runtime::message::{Deploy, TaskReport};

use super::Report;
use super::doors::lock;
use super::net::LinkId;
use super::node::Place;
use super::owners::Owners;

/// See the module.
#[derive(Default)]
pub struct Books {
    watermarks: BTreeMap<(LinkId, ChannelId), i64>,
    ended: BTreeSet<(LinkId, ChannelId)>,
    deploys: BTreeMap<Generation, String>,
    counted: BTreeMap<(Generation, TaskId), TaskReport>,
    pub epochs: u64,
    pub recoveries: u64,
    pub rescales: u64,
    pub adoptions: u64,
    pub resumptions: u64,
    pub leaves: u64,
    pub moved_state: bool,
    warmed: bool,
    full: bool,
    /// Bytes of rows held by those that hold as many as they may.
    held: BTreeMap<(Generation, TaskId), usize>,
    /// Of the newest checkpoint.
    pub state_bytes: u64,
    pub owners: Owners,
}

impl Books {
    /// A frame arrives: watermarks of a channel never go back, and nothing follows its end.
    pub fn frame(&mut self, link: LinkId, frame: &[u8]) -> Result<(), String> {
        let bytes = frame.first_chunk::<HEADER_BYTES>().ok_or("a frame is too short")?;
        let header = Header::parse(bytes).map_err(|error| error.to_string())?;
        let key = (link, header.channel);
        if header.kind != Kind::Credit && self.ended.contains(&key) && header.kind != Kind::Barrier {
            return Err(format!("{:?} on {} after its end", header.kind, header.channel));
        }
        match header.kind {
            // Units have moved upstream: this channel is to say again how far their event time has come.
            Kind::Opening => drop(self.watermarks.remove(&key)),
            Kind::End => drop(self.ended.insert(key)),
            Kind::Watermark => {
                let payload = frame[HEADER_BYTES..].first_chunk::<8>().ok_or("a watermark is too short")?;
                let watermark_ms = i64::from_le_bytes(*payload);
                let before = self.watermarks.insert(key, watermark_ms);
                if let Some(before) = before.filter(|before| *before > watermark_ms) {
                    return Err(format!(
                        "the watermark of {} goes back from {before} to {watermark_ms}",
                        header.channel
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A worker is told to deploy: all are told the same, every group has one owner among the stage's tasks, every
    /// split one reader, and no task is in two stages.
    pub fn deploy(&mut self, deploy: &Deploy, from: Option<&Manifest>) -> Result<(), String> {
        let generation = deploy.generation;
        let text = serde_json::to_string(deploy).map_err(|error| error.to_string())?;
        if *self.deploys.entry(generation).or_insert_with(|| text.clone()) != text {
            return Err(format!("workers are told different things of generation {generation:x}"));
        }
        let mut seen = BTreeSet::new();
        for stage in &deploy.stages {
            let tasks: BTreeSet<TaskId> = stage.tasks.iter().map(|placed| placed.task).collect();
            if let Some(task) = tasks.iter().find(|task| !seen.insert(**task)) {
                return Err(format!("task {task} is in two stages"));
            }
            if tasks.len() != stage.tasks.len() {
                return Err(format!("a task of stage {} is there twice", stage.name));
            }
            if let Some(owner) = stage.table.owners.iter().find(|owner| !tasks.contains(owner)) {
                return Err(format!("task {owner} owns a group of stage {} and does not exist", stage.name));
            }
            let splits: BTreeSet<u32> = stage.splits.iter().map(|(_, split)| split.id).collect();
            if splits.len() != stage.splits.len() || stage.splits.iter().any(|(reader, _)| !tasks.contains(reader)) {
                return Err(format!("a split of stage {} has not exactly one reader", stage.name));
            }
        }
        let moved = |manifest: &Manifest| {
            deploy.stages.iter().any(|stage| {
                manifest.stage(&stage.name).is_some_and(|old| {
                    let with_state = |task: TaskId| old.tasks.iter().any(|old| old.task == task && old.state_bytes > 0);
                    let mut pairs = old.table.owners.iter().zip(&stage.table.owners);
                    pairs.any(|(from, to)| from != to && with_state(*from))
                })
            })
        };
        self.moved_state |= from.is_some_and(moved);
        Ok(())
    }

    /// Of the tasks that run: no worker runs two generations, and of the newest generation no task runs twice.
    pub fn running(&self, places: &[Place]) -> Result<(), String> {
        let mut newest: (Generation, BTreeSet<TaskId>) = Default::default();
        for place in places {
            let Some(node) = &place.node else { continue };
            let tasks = lock(&node.tasks);
            let mut own = None;
            for seat in &tasks.running {
                let (generation, task) = (seat.generation, seat.task.id());
                if *own.get_or_insert(generation) != generation {
                    return Err(format!("worker {} runs two generations", place.name));
                }
                if generation > newest.0 {
                    newest = (generation, BTreeSet::new());
                }
                if generation == newest.0 && !newest.1.insert(task) {
                    return Err(format!("task {task} of generation {generation:x} runs twice"));
                }
            }
        }
        Ok(())
    }

    /// Whoever holds as many rows as it may for groups on their way takes no more, whatever happens and however long.
    pub fn bounded(&mut self, places: &[Place]) -> Result<(), String> {
        let before = std::mem::take(&mut self.held);
        for node in places.iter().filter_map(|place| place.node.as_ref()) {
            for seat in &lock(&node.tasks).running {
                self.warmed |= seat.task.warmed() > 0;
                let (held, most) = seat.task.held_bytes();
                let key = (seat.generation, seat.task.id());
                if held > most {
                    self.full = true;
                    self.held.insert(key, held);
                }
                if before.get(&key).is_some_and(|before| held > *before) {
                    return Err(format!("task {} holds {held} bytes of rows, and may {most}", seat.task.id()));
                }
            }
        }
        Ok(())
    }

    /// What tasks have counted.
    pub fn measured(&mut self, generation: Generation, tasks: &[TaskReport]) {
        for report in tasks {
            let known = self.counted.entry((generation, report.task)).or_insert_with(|| report.clone());
            if known.counters.records_in <= report.counters.records_in {
                *known = report.clone();
            }
        }
    }

    /// Its part of the report.
    pub fn report(&self, stages: &[StageShape]) -> Report {
        Report {
            epochs: self.epochs,
            generations: self.deploys.len() as u64,
            recoveries: self.recoveries,
            rescales: self.rescales,
            adoptions: self.adoptions,
            resumptions: self.resumptions,
            leaves: self.leaves,
            moved_state: self.moved_state,
            warmed: self.warmed,
            full: self.full,
            state_bytes: self.state_bytes,
            source_rows: self.source_rows(stages),
            ..Report::default()
        }
    }

    /// Rows that sources read in all generations.
    fn source_rows(&self, stages: &[StageShape]) -> u64 {
        let read = self.counted.values().filter(|report| stages[report.stage].splits.is_some());
        read.map(|report| report.counters.records_in).sum()
    }

    /// In the generation that came to the end, every stage took in what was sent to it.
    pub fn conserved(&self, stages: &[StageShape]) -> Result<(), String> {
        let Some((last, _)) = self.counted.keys().next_back() else { return Err("nothing was counted".into()) };
        let reports: Vec<&TaskReport> =
            self.counted.iter().filter(|((generation, _), _)| generation == last).map(|(_, report)| report).collect();
        for (index, stage) in stages.iter().enumerate().filter(|(_, stage)| !stage.inputs.is_empty()) {
            let is_input = |edge: u16| stage.inputs.iter().any(|(input, _, _)| *input == edge);
            let edges = reports.iter().flat_map(|report| &report.edges);
            let sent: u64 = edges.filter(|(edge, _, _)| is_input(*edge)).map(|(_, rows, _)| rows).sum();
            let taken = reports.iter().filter(|report| report.stage == index);
            let taken: u64 = taken.map(|report| report.counters.records_in).sum();
            if sent != taken {
                return Err(format!("{sent} rows were sent to stage {}, and {taken} arrived", stage.name));
            }
        }
        Ok(())
    }
}
