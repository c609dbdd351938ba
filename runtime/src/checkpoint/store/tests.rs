use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::*;

mod s3;

/// What every checkpoint store must do.
fn check(store: &dyn CheckpointStore) {
    assert_eq!(store.get("job/a").unwrap(), None);
    assert!(store.list("job").unwrap().is_empty());
    store.delete("job/a").unwrap();
    store.put("job/a", Bytes::from_static(b"1")).unwrap();
    store.put("job/a", Bytes::from_static(b"22")).unwrap();
    assert_eq!(store.get("job/a").unwrap().as_deref(), Some(b"22".as_slice()));
    assert!(!store.put_if_absent("job/a", Bytes::from_static(b"3")).unwrap());
    assert!(store.put_if_absent("job/b/c", Bytes::from_static(b"3")).unwrap());
    assert_eq!(store.get("job/a").unwrap().as_deref(), Some(b"22".as_slice()));
    store.put("job-2/a", Bytes::from_static(b"1")).unwrap();
    let object = |path: &str, bytes| Object { path: path.to_owned(), bytes };
    assert_eq!(store.list("job").unwrap(), [object("job/a", 2), object("job/b/c", 1)]);
    assert_eq!(store.list("job/b").unwrap(), [object("job/b/c", 1)]);
    for bytes in [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 20 << 20] {
        let content: Vec<u8> = (0u32..bytes).map(|at| (at % 251) as u8).collect();
        store.put_file("job/file", &mut content.as_slice()).unwrap();
        let mut back = Vec::new();
        assert!(store.get_file("job/file", &mut back).unwrap());
        assert!(back == content, "{bytes} bytes");
    }
    assert!(!store.get_file("job/none", &mut Vec::new()).unwrap());
    store.delete("job/file").unwrap();
    store.delete("job/b/c").unwrap();
    assert_eq!(store.list("job").unwrap(), [object("job/a", 2)]);
    assert!(store.put_if_absent("job/b/c", Bytes::from_static(b"4")).unwrap());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

#[test]
fn memory_conforms() {
    check(&MemoryCheckpoints::default());
}

#[test]
fn a_local_folder_conforms() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    check(&ObjectCheckpoints::local(&folder.path().join("new/folder"), runtime.handle().clone()).unwrap());
}

#[test]
fn a_local_folder_links_instead_of_copying() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let store = ObjectCheckpoints::local(&folder.path().join("store"), runtime.handle().clone()).unwrap();
    let (file, copy) = (folder.path().join("000007.sst"), folder.path().join("again"));
    std::fs::write(&file, b"table").unwrap();
    assert!(store.link_in("job/files/7", &file));
    assert_eq!(std::fs::metadata(&file).unwrap().nlink(), 2);
    assert_eq!(store.list("job").unwrap(), [Object { path: "job/files/7".to_owned(), bytes: 5 }]);
    // What is there already is not taken for it.
    assert!(!store.link_in("job/files/7", &file));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(store.get("job/files/7").unwrap().as_deref(), Some(b"table".as_slice()));
    assert!(store.link_out("job/files/7", &copy));
    assert!(!store.link_out("job/files/8", &folder.path().join("none")));
    // An object that is replaced is another file.
    store.put("job/files/7", Bytes::from_static(b"other")).unwrap();
    store.delete("job/files/7").unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), b"table");
    assert!(!MemoryCheckpoints::default().link_in("job/files/7", &copy));
}

#[test]
fn of_many_claimants_one_wins() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let store = ObjectCheckpoints::local(folder.path(), runtime.handle().clone()).unwrap();
    let claim = |number: u8| store.put_if_absent("job/terms/1", vec![number].into()).unwrap();
    let won: usize = std::thread::scope(|scope| {
        let claims: Vec<_> = (0..8).map(|number| scope.spawn(move || usize::from(claim(number)))).collect();
        claims.into_iter().map(|claim| claim.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_reader_that_fails_leaves_nothing() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(buffer.len()).ok_or_else(|| std::io::Error::other("broken"))?;
            Ok(buffer.len())
        }
    }
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let store = ObjectCheckpoints::local(folder.path(), runtime.handle().clone()).unwrap();
    for bytes in [0, 12 << 20] {
        let error = store.put_file("job/file", &mut Broken(bytes)).unwrap_err();
        assert!(!error.transient);
        assert_eq!(store.get("job/file").unwrap(), None);
    }
}

#[test]
fn errors_say_whether_to_try_again() {
    let runtime = runtime();
    assert!(ObjectCheckpoints::local(Path::new("/proc/none"), runtime.handle().clone()).is_err());
    let folder = tempfile::tempdir().unwrap();
    let store = ObjectCheckpoints::local(folder.path(), runtime.handle().clone()).unwrap();
    assert!(!store.put("a//b", Bytes::new()).unwrap_err().transient, "no such path can ever be written");
    let memory = MemoryCheckpoints::default();
    memory.set_fault(Some(Arc::new(|call| (call.operation == Operation::PutIfAbsent).then_some(Failure::After))));
    assert!(memory.put_if_absent("job/a", Bytes::new()).unwrap_err().transient);
    memory.set_fault(None);
    assert!(!memory.put_if_absent("job/a", Bytes::new()).unwrap(), "it had its effect");
}
