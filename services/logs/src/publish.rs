//! Notes where the world can read them: one folder a log, one file a checkpoint, and the newest under a fixed name.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use runspine_errors::{Fault, mesh};
use runspine_logs_domain::note::{Checkpoint, Note};

/// The folder of all published notes.
#[derive(Debug, Clone)]
pub struct Published {
    folder: PathBuf,
}

const LATEST: &str = "latest.note";

impl Published {
    /// Notes under `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes the note of a checkpoint, and makes it the newest unless a larger one is.
    ///
    /// # Errors
    /// When the files can't be written.
    pub fn write(&self, log: &str, size: u64, note: &str) -> io::Result<()> {
        let folder = self.folder.join(log);
        fs::create_dir_all(&folder)?;
        place(&folder, &format!("{size}.note"), note)?;
        let newest = read(&folder.join(LATEST))?.map_or(0, |checkpoint| checkpoint.size);
        if newest <= size || self.acknowledged(log, newest) {
            place(&folder, LATEST, note)?;
        }
        Ok(())
    }

    /// The note of the checkpoint of `size`, where it was published.
    #[must_use]
    pub fn note(&self, log: &str, size: u64) -> Option<String> {
        fs::read_to_string(self.folder.join(log).join(format!("{size}.note"))).ok()
    }

    /// The newest checkpoint of each log that has one.
    ///
    /// # Errors
    /// When the folder or a note in it can't be read.
    pub fn newest(&self) -> Result<Vec<(String, Checkpoint)>, Fault> {
        let unreadable = |error: io::Error| {
            Fault::new(&mesh::STORE_UNAVAILABLE, "published checkpoints can't be read").caused_by(error)
        };
        let folders = match fs::read_dir(&self.folder) {
            Ok(folders) => folders,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut found = Vec::new();
        for folder in folders {
            let folder = folder.map_err(unreadable)?;
            let newest = read(&folder.path().join(LATEST)).map_err(unreadable)?;
            if let (Some(checkpoint), Ok(name)) = (newest, folder.file_name().into_string()) {
                found.push((name, checkpoint));
            }
        }
        Ok(found)
    }

    /// Whether an operator accepted that entries under this checkpoint are gone.
    #[must_use]
    pub fn acknowledged(&self, log: &str, size: u64) -> bool {
        self.folder.join(log).join(format!("{size}.rolled-back")).exists()
    }
}

/// Accepts, for every log under `folder`, that entries under its newest published checkpoint are gone; gives the logs
/// and sizes. The notes stay: they are what shows later that something was lost.
///
/// # Errors
/// When the folder can't be read or written.
pub fn acknowledge_rollback(folder: &Path, reason: &str) -> Result<Vec<(String, u64)>, Fault> {
    let newest = Published::new(folder.to_owned()).newest()?;
    let unwritable =
        |error| Fault::new(&mesh::STORE_UNAVAILABLE, "the acknowledgement can't be written").caused_by(error);
    for (log, checkpoint) in &newest {
        let name = format!("{}.rolled-back", checkpoint.size);
        place(&folder.join(log), &name, &format!("{reason}\n")).map_err(unwritable)?;
    }
    Ok(newest.into_iter().map(|(log, checkpoint)| (log, checkpoint.size)).collect())
}

fn read(file: &Path) -> io::Result<Option<Checkpoint>> {
    match fs::read_to_string(file) {
        Ok(text) => Note::parse(&text).and_then(|note| note.checkpoint()).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} is no note", file.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole or not at all.
fn place(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, folder.join(name))
}

/// A rename is durable when its folder is.
///
/// # Errors
/// When the folder can't be synced.
pub fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
