//! Control connections between workers and the coordinator: a FIFO queue in each direction.
use std::collections::VecDeque;

use millstream_runtime::message::{Command, Report};

/// Names a control connection.
pub type ConnId = u64;

/// One connection. Each end may be gone without the other knowing yet.
pub struct Conn {
    /// Index of the worker's place.
    pub place: usize,
    pub incarnation: u64,
    /// To the worker.
    pub down: VecDeque<Command>,
    /// To the coordinator.
    pub up: VecDeque<Report>,
    pub worker_open: bool,
    pub coordinator_open: bool,
}

/// A report without what depends on the machine: paths of files and counters of time.
pub fn show_report(report: &Report) -> String {
    match report {
        Report::Cut { generation, epoch, stage, task, .. } => {
            format!("Cut {generation:x} e{epoch} s{stage} t{}", task.task)
        }
        Report::Described(tasks) => {
            let tasks = tasks
                .as_ref()
                .map(|tasks| (tasks.deploy.generation, &tasks.ended, tasks.epoch, tasks.is_whole, &tasks.progress));
            format!("Described {tasks:x?}")
        }
        Report::Metrics { generation, .. } => format!("Metrics {generation:x}"),
        Report::Register(register) => format!("Register {} {:016x}", register.name, register.incarnation),
        Report::DeployFailed { generation, .. } => format!("DeployFailed {generation:x}"),
        Report::TaskFailed { generation, task, .. } => format!("TaskFailed {generation:x} t{task}"),
        Report::CutFailed { generation, epoch, task, .. } => format!("CutFailed {generation:x} e{epoch} t{task}"),
        other => format!("{other:?}"),
    }
}

/// A command in short.
pub fn show_command(command: &Command) -> String {
    match command {
        Command::Deploy(deploy) | Command::Extend { deploy, .. } => {
            let kind = if matches!(command, Command::Extend { .. }) { "Extend" } else { "Deploy" };
            let from = deploy.restore.as_ref().map(|from| from.id.to_string());
            let tasks: Vec<_> = deploy.stages.iter().flat_map(|stage| &stage.tasks).collect();
            let tasks: Vec<_> = tasks.iter().map(|placed| format!("{}@{}", placed.task, placed.worker)).collect();
            format!("{kind} {:x} from {from:?}: {}", deploy.generation, tasks.join(" "))
        }
        other => format!("{other:?}"),
    }
}
