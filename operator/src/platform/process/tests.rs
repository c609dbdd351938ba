use super::*;

fn shell(name: &str, script: &str) -> ProcessSpec {
    let log = std::env::temp_dir().join(format!("millstream-process-{}-{name}.log", std::process::id()));
    let _ = std::fs::remove_file(&log);
    let args = vec!["-c".into(), script.into()];
    ProcessSpec { name: name.into(), program: "/bin/sh".into(), args, env: Vec::new(), log, forward_stdout: false }
}

async fn next(events: &mut mpsc::Receiver<ProcessEvent>) -> ProcessEvent {
    tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("an event in time").unwrap()
}

fn alive(pid: u32) -> bool {
    // A zombie still has a directory, a process that was waited for has none.
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn what_dies_is_started_again_with_growing_delay() {
    let (mut processes, mut events) = LocalProcesses::new();
    processes.start(shell("w0", "echo out; echo err >&2; kill -9 $$")).unwrap();
    let mut delays = Vec::new();
    for _ in 0..3 {
        let ProcessEvent::Started { pid: started, .. } = next(&mut events).await else { panic!("not started") };
        let ProcessEvent::Exited { pid, code, restart_in, .. } = next(&mut events).await else { panic!("not exited") };
        assert_eq!((pid, code), (started, 128 + 9));
        delays.push(restart_in.unwrap().as_millis());
    }
    assert_eq!(delays, [0, 200, 400]);
    processes.stop(&["w0".into()], Duration::from_secs(1)).await;
    let log = std::fs::read_to_string(shell_log("w0")).unwrap();
    assert!(log.starts_with("out\nerr\nout\nerr\n"), "{log}");
    std::fs::remove_file(shell_log("w0")).unwrap();
}

fn shell_log(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("millstream-process-{}-{name}.log", std::process::id()))
}

#[tokio::test]
async fn an_end_without_error_or_by_a_users_mistake_is_final() {
    let (mut processes, mut events) = LocalProcesses::new();
    for (name, code) in [("done", 0), ("mistake", 2)] {
        processes.start(shell(name, &format!("exit {code}"))).unwrap();
        next(&mut events).await;
        let ProcessEvent::Exited { code: seen, restart_in, .. } = next(&mut events).await else { panic!("not exited") };
        assert_eq!((seen, restart_in), (code, None));
        std::fs::remove_file(shell_log(name)).unwrap();
    }
    assert!(processes.pids().is_empty());
}

#[tokio::test]
async fn shutdown_asks_first_and_then_kills() {
    let (mut processes, mut events) = LocalProcesses::new();
    processes.start(shell("polite", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")).unwrap();
    processes.start(shell("stubborn", "trap '' TERM; echo up; while :; do sleep 0.05; done")).unwrap();
    for _ in 0..2 {
        next(&mut events).await;
    }
    let pids = processes.pids();
    assert_eq!(pids.keys().collect::<Vec<_>>(), ["polite", "stubborn"]);
    for name in ["polite", "stubborn"] {
        while !std::fs::read_to_string(shell_log(name)).unwrap_or_default().contains("up") {
            tokio::task::yield_now().await;
        }
    }
    processes.shutdown(Duration::from_millis(500)).await;
    assert!(pids.values().all(|pid| !alive(*pid)), "no process is left");
    assert!(std::fs::read_to_string(shell_log("polite")).unwrap().contains("bye"));
    for name in ["polite", "stubborn"] {
        std::fs::remove_file(shell_log(name)).unwrap();
    }
}

#[tokio::test]
async fn a_missing_binary_is_an_error_with_its_name() {
    let (mut processes, _events) = LocalProcesses::new();
    let spec = ProcessSpec { program: "/nonexistent/millstream".into(), ..shell("missing", "") };
    let error = chain(&processes.start(spec).unwrap_err());
    assert!(error.starts_with("cannot start missing (/nonexistent/millstream): "), "{error}");
    std::fs::remove_file(shell_log("missing")).unwrap();
}

#[test]
fn an_orphan_notices() {
    // This test process is not a child of pid 4,000,000,000.
    let error = bind_to_parent(4_000_000_000).unwrap_err().to_string();
    assert!(error.contains("the parent process 4000000000 is gone"), "{error}");
}

#[test]
fn delays_are_bounded() {
    assert_eq!(delay(1), Duration::ZERO);
    assert_eq!(delay(2).as_millis(), 200);
    assert_eq!(delay(u32::MAX).as_millis(), 5000);
}
