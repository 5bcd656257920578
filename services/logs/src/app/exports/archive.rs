//! Several files as one archive. The same files are the same bytes: their order is that of their names, and none has a
//! time of its own.

use std::io::{Cursor, Write as _};

use runspine_errors::{Fault, mesh};
use runspine_types::hash;
use serde_json::json;
use zip::{CompressionMethod, ZipWriter, result::ZipResult, write::SimpleFileOptions};

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its path in the archive.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// An archive of `files`, with a manifest of them that begins with what `about` says.
pub(super) fn archive(mut files: Vec<File>, about: serde_json::Value) -> Result<Vec<u8>, Fault> {
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let listed = files.iter().map(
        |file| json!({"name": file.name, "size": file.bytes.len(), "sha256": hash(&file.bytes).to_hex()}),
    );
    let listed: Vec<_> = listed.collect();
    let manifest = json!({"export": about, "files": listed});
    files.insert(0, File { name: "manifest.json".to_owned(), bytes: super::content::pretty(&manifest)? });
    packed(&files)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "the archive can't be written").caused_by(error))
}

fn packed(files: &[File]) -> ZipResult<Vec<u8>> {
    let options =
        SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Deflated).unix_permissions(0o644);
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    for file in files {
        out.start_file(file.name.as_str(), options)?;
        out.write_all(&file.bytes)?;
    }
    Ok(out.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use zip::ZipArchive;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> File {
        File { name: name.to_owned(), bytes: bytes.to_vec() }
    }

    #[test]
    fn an_archive_holds_what_its_manifest_says_and_is_the_same_bytes_again() {
        let files = vec![file("parts/b.json", b"{}"), file("content.json", &[b'a'; 10_000]), file("a", b"")];
        let packed = archive(files.clone(), json!({"export_id": "ex-1"})).unwrap();
        assert!(packed.len() < 2_000, "{} bytes of deflated letters", packed.len());
        let again = archive(files.iter().rev().cloned().collect(), json!({"export_id": "ex-1"})).unwrap();
        assert_eq!(packed, again, "whatever the order");
        let mut read = ZipArchive::new(Cursor::new(packed)).unwrap();
        let names: Vec<String> = read.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["manifest.json", "a", "content.json", "parts/b.json"]);
        let mut bytes = |name: &str| {
            let mut bytes = Vec::new();
            read.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        };
        let manifest: serde_json::Value = serde_json::from_slice(&bytes("manifest.json")).unwrap();
        assert_eq!(manifest["export"]["export_id"], "ex-1");
        let listed = manifest["files"].as_array().unwrap();
        assert_eq!(listed.len(), 3);
        for entry in listed {
            let held = bytes(entry["name"].as_str().unwrap());
            assert_eq!(entry["sha256"], hash(&held).to_hex());
            assert_eq!(entry["size"], held.len());
        }
    }
}
