//! Who owns which key group, looked at after every step.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::{Generation, TaskId};
use millstream_runtime::checkpoint::manifest::Manifest;
use millstream_runtime::coordinator::place::{HASH, StageShape};
use millstream_runtime::message::Deploy;

use super::doors::lock;
use super::node::Place;

/// The tasks that the newest generation was told to have, with their stages.
#[derive(Default)]
pub struct Owners {
    generation: Generation,
    tasks: BTreeMap<TaskId, usize>,
}

/// What is known of a group.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    owners: u32,
    awaiting: u32,
}

impl Owners {
    /// Workers are told of tasks: those of a generation, or some that join it.
    pub fn told(&mut self, deploy: &Deploy) {
        if deploy.generation > self.generation {
            (self.generation, self.tasks) = (deploy.generation, BTreeMap::new());
        }
        if deploy.generation == self.generation {
            for (stage, deployed) in deploy.stages.iter().enumerate() {
                self.tasks.extend(deployed.tasks.iter().map(|placed| (placed.task, stage)));
            }
        }
    }

    /// Tasks are gone: they own nothing and nothing is on its way to them.
    pub fn removed(&mut self, generation: Generation, gone: &[TaskId], places: &[Place]) -> Result<(), String> {
        if generation != self.generation {
            return Ok(());
        }
        for place in places {
            let Some(node) = &place.node else { continue };
            for seat in lock(&node.tasks).running.iter().filter(|seat| seat.generation == generation) {
                if gone.contains(&seat.task.id()) && !(seat.task.owned().is_empty() && seat.task.awaited().is_empty()) {
                    return Err(format!("task {} is removed and owns key groups", seat.task.id()));
                }
            }
        }
        self.tasks.retain(|task, _| !gone.contains(task));
        Ok(())
    }

    /// No group has two owners; while all tasks run, every group has one owner or is on its way to one task.
    pub fn check(&self, stages: &[StageShape], key_groups: u32, places: &[Place]) -> Result<(), String> {
        let is_keyed = |stage: &usize| stages[*stage].inputs.iter().any(|(_, _, partition)| *partition == HASH);
        let keyed: BTreeSet<usize> = (0..stages.len()).filter(is_keyed).collect();
        let mut groups: BTreeMap<usize, Vec<Known>> =
            keyed.iter().map(|stage| (*stage, vec![Known::default(); key_groups as usize])).collect();
        let mut running = 0;
        for place in places {
            let Some(node) = &place.node else { continue };
            for seat in lock(&node.tasks).running.iter().filter(|seat| seat.generation == self.generation) {
                let Some(stage) = self.tasks.get(&seat.task.id()) else { continue };
                running += 1;
                let Some(known) = groups.get_mut(stage) else { continue };
                seat.task.owned().iter().for_each(|group| known[usize::from(*group)].owners += 1);
                seat.task.awaited().iter().for_each(|group| known[usize::from(*group)].awaiting += 1);
            }
        }
        let all_run = running > 0 && running == self.tasks.len();
        for (stage, known) in &groups {
            for (group, Known { owners, awaiting }) in known.iter().enumerate() {
                let is_somewhere = *owners == 1 || *awaiting == 1 || !all_run;
                if *owners > 1 || *awaiting > 1 || !is_somewhere {
                    let stage = &stages[*stage].name;
                    return Err(format!(
                        "group {group} of stage {stage} has {owners} owners and is awaited by {awaiting}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A checkpoint has every group of a keyed stage exactly once, in the cut of its owner.
pub fn complete(manifest: &Manifest, stages: &[StageShape]) -> Result<(), String> {
    for (stage, shape) in manifest.stages.iter().zip(stages) {
        if !shape.inputs.iter().any(|(_, _, partition)| *partition == HASH) {
            continue;
        }
        let mut cut_by: BTreeMap<u16, TaskId> = BTreeMap::new();
        for task in &stage.tasks {
            for group in &task.groups {
                if let Some(other) = cut_by.insert(*group, task.task) {
                    let epoch = manifest.epoch;
                    return Err(format!("epoch {epoch} has group {group} from tasks {other} and {}", task.task));
                }
            }
        }
        for (group, owner) in stage.table.owners.iter().enumerate() {
            if cut_by.get(&(group as u16)) != Some(owner) {
                let (epoch, name) = (manifest.epoch, &stage.name);
                return Err(format!("epoch {epoch} lacks group {group} of stage {name} from its owner {owner}"));
            }
        }
    }
    Ok(())
}
