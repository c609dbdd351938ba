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

/// Environment variable that turns this test binary into a parent or a child for `children_die_with_a_killed_parent`.
const ROLE_ENV: &str = "MILLSTREAM_TEST_ROLE";

fn role(name: &str, role: &str) -> ProcessSpec {
    let args =
        ["platform::process::tests::roles_of_the_killed_family", "--exact", "--nocapture"].map(String::from).into();
    let env = vec![(ROLE_ENV.to_owned(), role.to_owned())];
    ProcessSpec { program: std::env::current_exe().unwrap(), args, env, ..shell(name, "") }
}

#[tokio::test]
async fn roles_of_the_killed_family() {
    match std::env::var(ROLE_ENV).as_deref() {
        Ok("parent") => {
            let (mut processes, _events) = LocalProcesses::new();
            processes.start(role("killed-child", "child")).unwrap();
            println!("child {}", processes.pids()["killed-child"]);
            std::future::pending().await
        }
        Ok(_) => {
            bind_to_parent_of_env().unwrap();
            println!("bound {}", std::process::id());
            std::future::pending().await
        }
        Err(_) => {}
    }
}

/// The number after `word` in a log that another process writes.
async fn number_in(log: &Path, word: &str) -> u32 {
    let found = async {
        loop {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let line =
                text.lines().find_map(|line| line.split_once(word)).and_then(|(_, number)| number.trim().parse().ok());
            match line {
                Some(number) => return number,
                None => back_off(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("the log says it in time")
}

#[tokio::test]
async fn children_die_with_a_killed_parent() {
    let parent = role("killed-parent", "parent");
    // The child's log is named after the pid of the process that starts it.
    let mut running = spawn(&parent).unwrap();
    let child = number_in(&parent.log, "child ").await;
    let child_log = std::env::temp_dir().join(format!("millstream-process-{}-killed-child.log", running.id().unwrap()));
    assert_eq!(number_in(&child_log, "bound ").await, child);
    signal(&running, Signal::KILL);
    running.wait().await.unwrap();
    let gone = async {
        while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            back_off(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the child is gone soon after its parent");
    std::fs::remove_file(parent.log).unwrap();
    std::fs::remove_file(child_log).unwrap();
}
