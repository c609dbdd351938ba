//! `millstream`: the one binary. Every command is thin; what it does lives in the operator and runtime libraries.
use std::process::ExitCode;

use clap::Parser;

mod args;
mod bench;
mod check;
mod erase;
mod explain;
mod fail;
mod job;
mod launch;
mod load;
mod operator;
mod pod;
mod progress;
mod role;
mod run;
mod say;
mod up;

/// Of Rust and of RocksDB alike: rows, batches and blocks are allocated by one thread and freed by another, all the time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match dispatch(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail::report(&error),
    }
}

fn dispatch(command: args::Command) -> anyhow::Result<()> {
    use args::Command;
    match command {
        Command::Run(args) => run::run(args),
        Command::Up(args) => up::command::up(args),
        Command::Explain(args) => explain::explain(&args),
        Command::Validate(args) => check::validate(&args),
        Command::Job(args) => job::job(args),
        Command::Bench(args) => bench::bench(args),
        Command::Operator(args) => operator::operator(args),
        Command::Coordinator(args) => role::coordinator(args),
        Command::Worker(args) => role::worker(args),
        Command::Erase(args) => erase::erase(&args),
    }
}
