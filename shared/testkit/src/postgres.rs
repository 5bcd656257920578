//! A PostgreSQL server of the test's own, from the installed binaries.
//!
//! It listens on a socket in a temporary folder, so that there is no port to clash on. A shell watches over it with a
//! pipe from the test: when the test ends, panics or is killed, the pipe closes, the shell ends the server and removes
//! its folder. `initdb` runs once per machine; each server starts on a copy.

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::eventually;

/// Of every server.
const SETTINGS: &[&str] = &[
    // Replicas that wait for each other are told apart at once instead of after the second of the default.
    "deadlock_timeout=20ms",
    "max_connections=60",
    "wal_level=minimal",
    "max_wal_senders=0",
    "jit=off",
    "listen_addresses=",
];
/// Of a server for tests of behaviour: what it keeps need not outlive it.
const FORGETFUL: &[&str] = &["fsync=off", "full_page_writes=off", "shared_buffers=16MB", "autovacuum=off"];
/// Of a server that is measured: it keeps what it answered, as in production.
const DURABLE: &[&str] = &["fsync=on", "full_page_writes=on", "shared_buffers=512MB", "autovacuum=on"];

const WATCH: &str = r#"folder=$1; shift
"$@" </dev/null >"$folder/server.log" 2>&1 &
server=$!
trap '' INT TERM
cat >/dev/null
kill -QUIT $server
wait $server
rm -rf "$folder""#;

/// A running server. Ends when it is dropped.
pub struct Postgres {
    watcher: Child,
    url: String,
    /// Removed by the watcher too, in case this process is killed.
    _folder: TempDir,
}

impl Postgres {
    /// Starts a server with an empty database `postgres`. Durability is off: a test that checks it must not use this
    /// server.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub async fn start() -> Self {
        Self::with(FORGETFUL).await
    }

    /// Starts a server with an empty database `postgres` that waits for the disk as one in production does.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub async fn durable() -> Self {
        Self::with(DURABLE).await
    }

    async fn with(settings: &[&str]) -> Self {
        let bin = binaries();
        let user = ServerUser::find();
        let template = template(&bin, user);
        let folder = tempfile::Builder::new().prefix("rspg").tempdir_in("/tmp").expect("a temporary folder");
        user.own(folder.path());
        let data = folder.path().join("data");
        user.run(Command::new("cp").arg("-a").arg(&template).arg(&data));
        let watcher = watch(&bin, user, folder.path(), &data, settings);
        let (pid_file, log) = (data.join("postmaster.pid"), folder.path().join("server.log"));
        let ready = || async {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(!log.contains("FATAL"), "PostgreSQL does not start: {log}");
            fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"))
        };
        eventually(Duration::from_secs(30), ready).await;
        let url = format!("postgres://postgres@localhost/postgres?host={}", folder.path().display());
        Self { watcher, url, _folder: folder }
    }

    /// Its `postgres://` URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

fn watch(bin: &Path, user: ServerUser, folder: &Path, data: &Path, settings: &[&str]) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", WATCH, "watch"]).arg(folder);
    command.arg(bin.join("postgres")).arg("-D").arg(data).arg("-k").arg(folder);
    for setting in SETTINGS.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    // Its own process group, so that an interrupt from the terminal does not end the watcher before the server.
    command.stdin(Stdio::piped()).process_group(0);
    user.become_in(&mut command).spawn().expect("sh starts")
}

/// Where `postgres` and `initdb` are.
fn binaries() -> PathBuf {
    let mut places: Vec<PathBuf> = Vec::new();
    if let Ok(out) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    }
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|all| all.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    places.extend(versions.into_iter().rev());
    places.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let found = places.into_iter().find(|p| p.join("postgres").is_file() && p.join("initdb").is_file());
    found.expect("this test needs the PostgreSQL server: install the package `postgresql`")
}

/// The user that the server runs as: PostgreSQL refuses to run as root.
#[derive(Clone, Copy)]
enum ServerUser {
    Ourselves,
    Other { uid: u32, gid: u32 },
}

impl ServerUser {
    fn find() -> Self {
        if fs::metadata("/proc/self").map_or(1, |m| m.uid()) != 0 {
            return Self::Ourselves;
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let number = |line: &str, place: usize| line.split(':').nth(place).and_then(|n| n.parse().ok());
        let found = ["postgres:", "nobody:"].iter().find_map(|name| {
            let line = users.lines().find(|line| line.starts_with(name))?;
            Some(Self::Other { uid: number(line, 2)?, gid: number(line, 3)? })
        });
        found.expect("tests run as root need a user `postgres` or `nobody` to run PostgreSQL as")
    }

    fn become_in(self, command: &mut Command) -> &mut Command {
        match self {
            Self::Ourselves => command,
            Self::Other { uid, gid } => command.uid(uid).gid(gid).current_dir("/tmp"),
        }
    }

    fn own(self, path: &Path) {
        if let Self::Other { uid, gid } = self {
            chown(path, Some(uid), Some(gid)).expect("root can give a folder away");
        }
    }

    fn run(self, command: &mut Command) {
        let out = self.become_in(command).output().expect("the command starts");
        assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

/// A fresh cluster to copy, made once per machine and version.
fn template(bin: &Path, user: ServerUser) -> PathBuf {
    let version = Command::new(bin.join("postgres")).arg("--version").output().expect("postgres runs").stdout;
    let version: String = String::from_utf8_lossy(&version).chars().filter(char::is_ascii_digit).collect();
    let name = match user {
        ServerUser::Ourselves => format!("runspine-pg-{version}-{}", env::var("USER").unwrap_or_default()),
        ServerUser::Other { uid, .. } => format!("runspine-pg-{version}-{uid}"),
    };
    let home = Path::new("/tmp").join(name);
    let template = home.join("data");
    if template.is_dir() {
        return template;
    }
    fs::create_dir_all(&home).expect("a folder for the template");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("our own folder");
    user.own(&home);
    // Several tests may come here at once: each makes its own, the first rename wins.
    let making = tempfile::Builder::new().prefix("new").tempdir_in(&home).expect("a temporary folder");
    user.own(making.path());
    let data = making.path().join("data");
    let mut initdb = Command::new(bin.join("initdb"));
    initdb.args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "--username=postgres"]);
    user.run(initdb.arg("--wal-segsize=1").arg("-D").arg(&data));
    match fs::rename(&data, &template) {
        Ok(()) => {}
        Err(error) if template.is_dir() && error.kind() != ErrorKind::NotFound => {}
        Err(error) => panic!("the template can't be put in place: {error}"),
    }
    template
}
