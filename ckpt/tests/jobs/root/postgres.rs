//! A database of Debian's packages, with a transaction open: rows that only it sees, locks,
//! and a server of many processes that share memory.
//!
//! `$POSTGRES` is the server, with `initdb` and `psql` beside it; `cargo xtask test` sees to
//! it. It refuses to be root, so this takes a root that may dump processes of other users, and
//! runs in the guest where this machine has none.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use criu_rs_tests::{Spawned, eventually};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::bench::{Bench, PATIENCE, Said, free_port, gone, provisioned};

/// `nobody`, who has a name everywhere, which `initdb` asks for.
const USER: u32 = 65534;

/// What starts the server. What it has beside its data is in its memory, and so in a
/// checkpoint; and it says nothing but why it ends, for its log must stay as long as it was.
const SERVER: &str = "-D data -c listen_addresses=127.0.0.1 -c dynamic_shared_memory_type=sysv \
                      -c log_min_messages=fatal -c fsync=off";

/// The server, and with it a clerk: one tree.
const BOTH: &str = r#""$@" & until psql -c "" >hello 2>&1; do sleep 0.1; done
    psql -qAt <talk >said 2>&1 & wait"#;

const ACCOUNTS: &str = "CREATE TABLE accounts (owner text PRIMARY KEY, cents int NOT NULL);
    INSERT INTO accounts VALUES ('ann', 100), ('bob', 50)";

/// Half of a transfer: what is gone here has not come there yet.
const TAKEN: &str = "BEGIN; UPDATE accounts SET cents = cents - 30 WHERE owner = 'ann';
    INSERT INTO accounts VALUES ('eve', 0)";

/// The other half.
const GIVEN: &str = "UPDATE accounts SET cents = cents + 30 WHERE owner = 'bob'; COMMIT";

const ALL: &str = "SELECT string_agg(owner || ' ' || cents, ', ' ORDER BY owner) FROM accounts";

const BEFORE: &str = "ann 100, bob 50";
const WITHIN: &str = "ann 70, bob 50, eve 0";
const AFTER: &str = "ann 70, bob 80, eve 0";

/// A server's data, and how to reach it.
struct Database<'a> {
    bench: &'a Bench,
    server: PathBuf,
    folder: PathBuf,
    port: String,
}

impl<'a> Database<'a> {
    fn new(bench: &'a Bench) -> Self {
        let folder = bench.path("database");
        // Theirs, in one that they may pass through.
        fs::set_permissions(bench.path(""), Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(USER), Some(USER)).unwrap();
        let talk = folder.join("talk");
        mknodat(CWD, talk, FileType::Fifo, Mode::from(0o644), 0).unwrap();
        let database = Self {
            bench,
            server: provisioned("POSTGRES").into(),
            folder,
            port: free_port().to_string(),
        };
        let mut initdb = Command::new(database.server.with_file_name("initdb"));
        initdb.args(["--pgdata=data", "--no-locale", "--no-sync", "--auth=trust"]);
        let made = database.theirs(&mut initdb).output().unwrap();
        assert!(made.status.success(), "{}", Said::of(&made).err);
        database
    }

    /// Has a program find the server.
    fn among<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let programs = self.server.parent().unwrap();
        let path = std::env::join_paths([programs, Path::new("/bin"), Path::new("/usr/bin")]);
        command
            .current_dir(&self.folder)
            .env("PATH", path.unwrap())
            .envs([("PGUSER", "nobody"), ("PGDATABASE", "postgres")])
            .env("PGHOST", &self.folder)
            .env("PGPORT", &self.port)
    }

    /// The same, as their user.
    fn theirs<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        self.among(command).uid(USER).gid(USER)
    }

    /// Starts the server, by other words or its own alone, as `unshare --ipc` does: with
    /// System V memory of its own, for it has a piece of that whatever it is told.
    fn start(&self, before: &[&str]) -> Spawned {
        let words = before.iter().map(Path::new).chain([&*self.server]);
        let mut words = words.chain(SERVER.split_whitespace().map(Path::new));
        let mut command = self.bench.job_command(words.next().unwrap());
        command.args(words).arg("-k").arg(&self.folder);
        self.theirs(&mut command);
        // Of a thread, and of what that starts.
        let apart = || {
            unshare(CloneFlags::CLONE_NEWIPC).unwrap();
            Spawned::spawn(&mut command).unwrap()
        };
        let job = std::thread::scope(|scope| scope.spawn(apart).join().unwrap());
        let answers = || Ok(self.sql("SELECT 1").ok());
        eventually("a server that answers", PATIENCE, answers).unwrap_or_else(|error| {
            let log = fs::read_to_string(self.bench.path("job.log")).unwrap();
            panic!("{error}; it said {log:?}")
        });
        job
    }

    /// What another session is answered, or why not.
    fn sql(&self, text: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args(["-qAtc", text]);
        let said = Said::of(&self.among(&mut psql).output().unwrap());
        match said.status {
            0 => Ok(said.out.trim_end().to_owned()),
            _ => Err(said.err),
        }
    }

    /// Whether another session is told that somebody has this row.
    fn has_locked(&self, owner: &str) -> bool {
        let query = format!("SELECT FROM accounts WHERE owner = '{owner}' FOR UPDATE NOWAIT");
        let answer = self.sql(&query);
        match &answer {
            Ok(_) => false,
            Err(said) if said.contains("could not obtain lock on row") => true,
            Err(_) => panic!("{answer:?}"),
        }
    }

    /// A session that goes on, by a program that reads a pipe and writes a file of the folder.
    fn clerk(&self) -> Clerk<'_> {
        let talk = self.folder.join("talk");
        // To read as well, or it would wait until somebody does.
        let talk = OpenOptions::new().read(true).write(true).open(talk);
        Clerk {
            database: self,
            talk: talk.unwrap(),
            asked: 0,
        }
    }
}

/// A session, and its transaction.
struct Clerk<'a> {
    database: &'a Database<'a>,
    talk: File,
    asked: usize,
}

impl Clerk<'_> {
    /// What it is answered.
    #[track_caller]
    fn ask(&mut self, text: &str) -> String {
        self.asked += 1;
        let [before, after] = ["begun", "done"].map(|word| format!("-- {} {word}\n", self.asked));
        write!(self.talk, "\\echo {before}{text};\n\\echo {after}").unwrap();
        let bench = self.database.bench;
        let said = bench.until("database/said", |said| said.ends_with(&after));
        let (_, answer) = said.split_once(&before).unwrap();
        answer.strip_suffix(&after).unwrap().trim_end().to_owned()
    }
}

#[test]
#[ignore = "needs root with every capability, CRIU and PostgreSQL: run cargo xtask test"]
fn a_postgres_with_an_open_transaction_survives() {
    let bench = Bench::new();
    let database = Database::new(&bench);
    let job = database.start(&["sh", "-c", BOTH, "sh"]);
    let pid = job.pid();
    let mut clerk = database.clerk();
    database.sql(ACCOUNTS).unwrap();
    clerk.ask(TAKEN);
    assert_eq!(clerk.ask(ALL), WITHIN);
    assert_eq!(database.sql(ALL).unwrap(), BEFORE);

    // A checkpoint, and all goes on; nobody sees what is not committed, or gets what is locked.
    bench.ckpt(&format!("create {pid} accounts --leave-running"));
    assert!(bench.ckpt("ls").contains("sh -c"));
    assert_eq!(database.sql(ALL).unwrap(), BEFORE);
    assert!(database.has_locked("ann") && !database.has_locked("bob"));
    bench.carry("accounts");

    // The server ends as if the power had failed, and its transaction with it.
    let tasks = job.proc().descendants().unwrap();
    assert!(tasks.len() > 7, "{tasks:?}");
    job.kill_tree().unwrap();
    tasks.into_iter().for_each(gone);
    gone(job.proc());
    database.sql(ALL).unwrap_err();

    // Back with all of its processes, its memory, its locks, and the transaction.
    let said = bench.ckpt("restore accounts --dry-run");
    assert!(said.contains("nothing stands in the way"), "{said}");
    let tree = bench.restored("accounts");
    assert_eq!(tree.pid(), pid);
    assert_eq!(database.sql(ALL).unwrap(), BEFORE);
    assert!(database.has_locked("ann") && !database.has_locked("bob"));
    assert_eq!(clerk.ask(ALL), WITHIN);
    clerk.ask(GIVEN);
    assert_eq!(database.sql(ALL).unwrap(), AFTER);
    assert!(!database.has_locked("ann"));
}

#[test]
#[ignore = "needs root with every capability, CRIU and PostgreSQL: run cargo xtask test"]
fn a_postgres_survives_with_its_client_elsewhere() {
    let bench = Bench::new();
    let database = Database::new(&bench);
    let job = database.start(&[]);
    let pid = job.pid();
    database.sql(ACCOUNTS).unwrap();

    // Over TCP, and no part of what is checkpointed.
    let said = File::create(database.folder.join("said")).unwrap();
    let mut clerk = database.clerk();
    let mut psql = Command::new("psql");
    psql.args(["-qAt", "-h", "127.0.0.1"]);
    psql.stdin(clerk.talk.try_clone().unwrap());
    psql.stdout(said.try_clone().unwrap()).stderr(said);
    let _psql = Spawned::spawn(database.among(&mut psql)).unwrap();
    clerk.ask(TAKEN);
    assert_eq!(clerk.ask(ALL), WITHIN);

    let tasks = job.proc().descendants().unwrap();
    bench.ckpt(&format!("create {pid} accounts --tcp-established"));
    job.wait(PATIENCE).unwrap();
    tasks.into_iter().for_each(gone);
    bench.carry("accounts");
    let _tree = bench.restored("accounts");

    // Its client heard nothing of it.
    assert_eq!(database.sql(ALL).unwrap(), BEFORE);
    assert_eq!(clerk.ask(ALL), WITHIN);
    clerk.ask(GIVEN);
    assert_eq!(database.sql(ALL).unwrap(), AFTER);
}
