//! A shell job in tmux: the whole of it, server, terminal and shell, is one tree.
//!
//! `$TMUX_PROGRAM` is tmux; `cargo xtask test` sees to it.

use std::env;
use std::process::{Command, Stdio};

use criu_rs_tests::{Spawned, eventually};

use crate::bench::{Bench, PATIENCE, gone, provisioned};
use crate::screen::{JOB, Screen, terminal};

/// A tmux server of the test's own.
struct Tmux<'a> {
    bench: &'a Bench,
    program: String,
}

impl Tmux<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-S").arg(self.bench.path("tmux.sock"));
        command.args(["-f", "/dev/null"]).args(words);
        let path = env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path);
        command
            .env("HOME", self.bench.path(""))
            .env("TERM", "vt100");
        command.env("SHELL", "/bin/sh").env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn tmux(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {words:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types a line in the pane, and waits until this is shown there; all that is.
    #[track_caller]
    fn ask(&self, line: &str, answer: &str) -> String {
        self.tmux(&["send-keys", line, "Enter"]);
        let shown = eventually(answer, PATIENCE, || {
            let shown = self.tmux(&["capture-pane", "-p"]);
            Ok(shown.contains(answer).then_some(shown))
        });
        shown.unwrap()
    }

    /// Looks at it from a terminal.
    fn attach(&self) -> (Spawned, Screen) {
        let (master, slave) = terminal();
        let attach = self.command(&["attach"]);
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(attach.get_program());
        command.args(attach.get_args()).env_clear();
        command.envs(
            attach
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command.stdin(slave.try_clone().unwrap());
        command.stdout(slave.try_clone().unwrap()).stderr(slave);
        (Spawned::spawn(&mut command).unwrap(), Screen::of(master))
    }
}

#[test]
#[ignore = "needs root, CRIU and tmux: run cargo xtask test"]
fn a_tmux_server_survives_with_its_shell() {
    let bench = Bench::new();
    let program = provisioned("TMUX_PROGRAM");
    let tmux = Tmux {
        bench: &bench,
        program,
    };
    tmux.tmux(&["new-session", "-d", "-x", "80", "-y", "24", JOB]);
    let pids = tmux.tmux(&["display-message", "-p", "#{pid} #{pane_pid}"]);
    let (server, shell) = pids.trim().split_once(' ').unwrap();
    let started = Spawned::adopt(server.parse().unwrap()).unwrap();
    tmux.ask("one", "got one, the 1.");

    // The shell alone has its terminal outside, in the server.
    let said = bench.refused(3, &format!("create {shell} tmux"));
    assert!(
        said.contains("is outside the tree: add --shell-job"),
        "{said}"
    );
    // The server has not, but is not alone while somebody looks at it: that is told by name.
    let (client, mut screen) = tmux.attach();
    screen.until("got one, the 1.");
    let said = bench.refused(3, &format!("create {server} tmux --auto"));
    let other = format!("connected to process {} (tmux: client)", client.pid());
    assert!(said.contains(&other), "{said}");
    assert!(said.contains("disconnect it"), "{said}");
    tmux.tmux(&["detach-client"]);
    client.wait(PATIENCE).unwrap();

    // Nothing has to be allowed then. It goes on, and ends without being asked.
    bench.ckpt(&format!("create {server} tmux --leave-running"));
    tmux.ask("two", "got two, the 2.");
    bench.carry("tmux");
    started.kill_tree().unwrap();
    gone(started.proc());

    // The pane shows what it did, and the shell goes on counting from there.
    let restored = bench.restored("tmux");
    assert_eq!(restored.pid(), started.pid());
    assert_eq!(
        tmux.tmux(&["display-message", "-p", "#{pane_pid}"]).trim(),
        shell
    );
    let shown = tmux.ask("zwei", "got zwei, the 2.");
    assert!(
        shown.contains("got one, the 1.") && !shown.contains("two"),
        "{shown}"
    );

    // Who attaches now finds it like this.
    let (client, mut screen) = tmux.attach();
    screen.until("got one, the 1.");
    screen.ask("three", "got three, the 3.");
    tmux.tmux(&["kill-server"]);
    client.wait(PATIENCE).unwrap();
}
