//! The store over S3, against a real server.
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

const KEY: &str = "test-key";
const SECRET: &str = "test-secret";

/// A versitygw that serves folders of a temporary one as buckets.
struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

/// Built once, with the other parts of the test cluster.
fn program() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cluster/build.sh");
    let built = Command::new("bash").arg(script).output().unwrap();
    assert!(built.status.success(), "{script}: {}", String::from_utf8_lossy(&built.stderr));
    let folder = String::from_utf8(built.stdout).unwrap();
    PathBuf::from(folder.lines().last().unwrap_or_default()).join("versitygw")
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Self::spawn(folder.path(), port);
        Self { child, port, folder }
    }

    fn spawn(folder: &Path, port: u16) -> Child {
        let mut command = Command::new(program());
        command.env("ROOT_ACCESS_KEY", KEY).env("ROOT_SECRET_KEY", SECRET).stdout(Stdio::null()).stderr(Stdio::null());
        command.args(["--port", &format!("127.0.0.1:{port}"), "--quiet", "posix"]).arg(folder);
        let mut child = command.spawn().unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "versitygw has ended");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        child
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn open(&self, uri: &str, secret: &str, runtime: &tokio::runtime::Runtime) -> Arc<dyn CheckpointStore> {
        let endpoint = Some(format!("http://127.0.0.1:{}", self.port));
        let location = Location { uri: uri.into(), endpoint, region: Some("us-east-1".into()) };
        let environment = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", secret)];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        crate::net::tls::install_provider();
        location.open_in(runtime.handle().clone(), environment.into_iter()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_bucket_conforms_with_and_without_a_prefix() {
    let (server, runtime) = (Server::start(), runtime());
    check(server.open("s3://bucket/some/prefix/", SECRET, &runtime).as_ref());
    check(server.open("s3://bucket", SECRET, &runtime).as_ref());
    assert!(server.folder.path().join("bucket/some/prefix/job/a").is_file());
}

#[test]
fn of_many_claimants_of_a_bucket_one_wins() {
    let (server, runtime) = (Server::start(), runtime());
    let stores: Vec<_> = (0..8).map(|_| server.open("s3://bucket/p", SECRET, &runtime)).collect();
    for round in 0..10 {
        let path = format!("job/terms/{round}");
        let claim = |store: &Arc<dyn CheckpointStore>, by: u8| store.put_if_absent(&path, vec![by].into()).unwrap();
        let won: usize = std::thread::scope(|scope| {
            let claims = (0u8..).zip(&stores).map(|(by, store)| scope.spawn(move || usize::from(claim(store, by))));
            claims.collect::<Vec<_>>().into_iter().map(|claim| claim.join().unwrap()).sum()
        });
        assert_eq!(won, 1, "round {round}");
    }
}

#[test]
fn errors_of_a_server_say_whether_to_try_again() {
    let (mut server, runtime) = (Server::start(), runtime());
    let put = |store: &Arc<dyn CheckpointStore>| store.put_if_absent("job/a", Bytes::new());
    let refused = put(&server.open("s3://bucket", "wrong", &runtime)).unwrap_err();
    assert!(!refused.transient, "{refused:?}");
    for error in [
        put(&server.open("s3://none", SECRET, &runtime)).unwrap_err(),
        server.open("s3://none", SECRET, &runtime).get("job/a").unwrap_err(),
        server.open("s3://none", SECRET, &runtime).list("job").unwrap_err(),
    ] {
        assert!(!error.transient && format!("{error:?}").contains("NoSuchBucket"), "{error:?}");
    }
    let store = server.open("s3://bucket", SECRET, &runtime);
    assert!(put(&store).unwrap());
    server.stop();
    let down = store.get("job/a").unwrap_err();
    assert!(down.transient, "{down:?}");
    server.child = Server::spawn(server.folder.path(), server.port);
    assert_eq!(store.get("job/a").unwrap(), Some(Bytes::new()), "it is back");
    assert!(!put(&store).unwrap());
}

#[test]
fn uris_that_name_no_store_say_what_to_write() {
    let runtime = runtime();
    for (uri, told) in [
        ("gs://bucket", "write s3://BUCKET/PREFIX or file:///FOLDER"),
        ("file://relative", "write s3://BUCKET/PREFIX or file:///FOLDER"),
        ("s3:///prefix", "the bucket is missing; write s3://BUCKET/PREFIX"),
    ] {
        let location = Location { uri: uri.into(), ..Location::default() };
        let Err(error) = location.open(runtime.handle().clone()) else { panic!("{uri} is no store") };
        assert_eq!((error.source.to_string().as_str(), error.transient), (told, false), "{uri}");
    }
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("file://{}/claim", folder.path().display());
    let location = Location { uri, ..Location::default() };
    check(location.open(runtime.handle().clone()).unwrap().as_ref());
    assert_eq!(location.path_of("a/b"), format!("file://{}/claim/a/b", folder.path().display()));
}
