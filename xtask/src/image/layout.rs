//! The OCI image layout: blobs named by their digest, a manifest, an index, all in one archive.
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tar;
use super::tree::Tree;

const MEDIA_TYPE: &str = "application/vnd.oci.image";
/// Who runs the program: nobody that exists, as in the images called distroless.
pub const USER: &str = "65532:65532";
const CERTIFICATES: &str = "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt";
/// Nothing tells when an image was built: it would be another one each time.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What becomes an image.
pub struct Image {
    /// Repository and tag.
    pub name: String,
    /// From the lowest to the highest.
    pub layers: Vec<Tree>,
    /// The program; none for a base.
    pub entrypoint: Option<String>,
    /// Whether layers are left uncompressed.
    pub is_plain: bool,
}

impl Image {
    /// Writes the archive and gives the digest of the manifest.
    pub fn write(&self, to: &Path) -> Result<String> {
        let mut blobs = Tree::default();
        let mut layers = Vec::new();
        let mut contents = Vec::new();
        for layer in &self.layers {
            let archive = tar::archive(layer)?;
            contents.push(digest(&archive));
            let (suffix, bytes) = if self.is_plain { ("", archive) } else { ("+gzip", compressed(archive)?) };
            layers.push(blob(&mut blobs, &format!("layer.v1.tar{suffix}"), bytes));
        }
        let config = blob(&mut blobs, "config.v1+json", self.config(&contents).to_string());
        let manifest_type = format!("{MEDIA_TYPE}.manifest.v1+json");
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers});
        let mut manifest = blob(&mut blobs, "manifest.v1+json", manifest.to_string());
        let digest = manifest["digest"].as_str().context("a blob without a digest")?.to_owned();
        manifest["platform"] = json!({"architecture": architecture(), "os": "linux"});
        manifest["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": self.name});
        let index_type = format!("{MEDIA_TYPE}.index.v1+json");
        let index = json!({"schemaVersion": 2, "mediaType": index_type, "manifests": [manifest]});
        blobs.file("index.json", 0o644, index.to_string());
        blobs.file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
        // By a rename: who reads meanwhile has the old one.
        let part = to.with_extension("part");
        fs::create_dir_all(to.parent().context("--output names no file")?)?;
        fs::write(&part, tar::archive(&blobs)?).with_context(|| format!("cannot write {}", part.display()))?;
        fs::rename(&part, to)?;
        Ok(digest)
    }

    fn config(&self, contents: &[String]) -> Value {
        let mut config =
            json!({"User": USER, "WorkingDir": "/", "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", CERTIFICATES]});
        if let Some(entrypoint) = &self.entrypoint {
            config["Entrypoint"] = json!([entrypoint]);
        }
        let history: Vec<_> =
            contents.iter().map(|_| json!({"created": CREATED, "created_by": "xtask image"})).collect();
        json!({
            "created": CREATED, "architecture": architecture(), "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": contents}, "history": history,
        })
    }
}

/// Adds a blob and gives what refers to it.
fn blob(blobs: &mut Tree, kind: &str, bytes: impl Into<Vec<u8>>) -> Value {
    let bytes = bytes.into();
    let digest = digest(&bytes);
    let size = bytes.len();
    blobs.file(&format!("blobs/{}", digest.replace(':', "/")), 0o644, bytes);
    json!({"mediaType": format!("{MEDIA_TYPE}.{kind}"), "digest": digest, "size": size})
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// As the image specification names this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// By gzip, which writes neither a name nor a time when told not to.
fn compressed(bytes: Vec<u8>) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip").arg("--no-name").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = gzip.stdin.take().context("gzip has no input")?;
    // Beside reading its output: it stops when nobody takes that.
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = gzip.wait_with_output()?;
    ensure!(output.status.success(), "gzip: {}", output.status);
    writer.join().ok().context("the thread that feeds gzip has panicked")??;
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str, is_plain: bool) -> Image {
        let mut tree = Tree::default();
        tree.file("usr/local/bin/x", 0o755, text);
        let entrypoint = Some("/usr/local/bin/x".to_owned());
        Image { name: "example.test/x:1".to_owned(), layers: vec![tree], entrypoint, is_plain }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for is_plain in [false, true] {
            let write = |name: &str, text| {
                let to = folder.path().join(name);
                let digest = image(text, is_plain).write(&to).unwrap();
                (digest, fs::read(to).unwrap())
            };
            let first = write("a.tar", "one");
            assert!(first == write("b.tar", "one"));
            assert!(first.0 != write("c.tar", "two").0);
        }
    }

    #[test]
    fn every_blob_has_the_digest_it_is_named_by() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("x.tar");
        let manifest = image("one", false).write(&to).unwrap();
        let output = Command::new("tar").arg("-xf").arg(&to).arg("-C").arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let blobs: Vec<_> =
            fs::read_dir(folder.path().join("blobs/sha256")).unwrap().map(|blob| blob.unwrap()).collect();
        assert_eq!(blobs.len(), 3, "a layer, a config, a manifest");
        for blob in &blobs {
            let name = blob.file_name().into_string().unwrap();
            assert_eq!(digest(&fs::read(blob.path()).unwrap()), format!("sha256:{name}"));
        }
        let index: Value = serde_json::from_slice(&fs::read(folder.path().join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"][0]["digest"], json!(manifest));
    }
}
