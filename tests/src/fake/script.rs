//! What a fake CRIU is to do, and how that is written down: a line a step.

use std::io;
use std::str::FromStr;
use std::time::Duration;

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Receive a request (anything but a NOTIFY) and open the folders it names.
    Request,
    /// Receive the answer to a notification.
    Ack,
    /// Wait until the client has closed its end.
    Eof,
    /// Send a datagram; an empty one too.
    Send(Vec<u8>),
    /// Send a datagram with file descriptors.
    SendFds(Vec<u8>, Vec<Passed>),
    /// Send a datagram of so many zero bytes, however large.
    SendZeros(usize),
    /// Write text to stdout or stderr.
    Print(Stream, String),
    /// Add text to the log file of the last request, where CRIU would have it.
    Log(String),
    /// Create a file in the images folder of the last request.
    Image(String, Vec<u8>),
    /// Start a process that stands for a restored task. A sibling is the client's child, as
    /// CRIU makes it with `rst_sibling`; else it is this process's. Its pid stands wherever
    /// a later message says [`TASK_PID`](crate::TASK_PID).
    StartTask {
        /// Whether it is to be the client's child.
        sibling: bool,
    },
    /// SIGKILL that task. A sibling stays as a zombie until the client reaps it.
    KillTask,
    /// Leave a process behind that keeps the socket, stdout and stderr open, so that the
    /// end of this one shows in no end of file.
    LeaveHolder,
    /// Block every signal, as CRIU does while it restores.
    BlockSignals,
    /// Tell the test that the script came so far.
    Mark(String),
    /// Go on when the test opens the gate.
    Gate(String),
    /// Wait a while.
    Sleep(Duration),
    /// Write to the images of the last request until that fails, and go on: the long part of
    /// a dump, in which CRIU looks at nothing else.
    WriteOn,
    /// Do nothing until killed.
    Hang,
    /// Close the socket and go on.
    Close,
    /// Exit with this status. The end of a script exits with 0.
    Exit(u8),
    /// Die of this signal, without a core file.
    Die(i32),
    /// What follows is for the next start of the same CRIU.
    NextRun,
}

/// A file descriptor to send along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// The reading end of a pipe that holds this text and has no writer.
    Pipe(String),
    /// The master of a new pseudo-terminal.
    PtyMaster,
}

/// Where to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Step {
    /// The step as a line of a script, with its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut say = |word: &str| words.push(word.to_owned());
        match self {
            Self::Request => say("request"),
            Self::Ack => say("ack"),
            Self::Eof => say("eof"),
            Self::Send(bytes) => words.extend(["send".to_owned(), to_hex(bytes)]),
            Self::SendFds(bytes, fds) => {
                words.extend(["send-fds".to_owned(), to_hex(bytes)]);
                words.extend(fds.iter().map(Passed::to_word));
            }
            Self::SendZeros(count) => words.extend(["send-zeros".to_owned(), count.to_string()]),
            Self::Print(Stream::Out, text) => words.extend(["stdout".to_owned(), text_hex(text)]),
            Self::Print(Stream::Err, text) => words.extend(["stderr".to_owned(), text_hex(text)]),
            Self::Log(text) => words.extend(["log".to_owned(), text_hex(text)]),
            Self::Image(name, bytes) => {
                words.extend(["image".to_owned(), text_hex(name), to_hex(bytes)]);
            }
            Self::StartTask { sibling: true } => say("start-sibling"),
            Self::StartTask { sibling: false } => say("start-child"),
            Self::KillTask => say("kill-task"),
            Self::LeaveHolder => say("leave-holder"),
            Self::BlockSignals => say("block-signals"),
            Self::Mark(name) => words.extend(["mark".to_owned(), text_hex(name)]),
            Self::Gate(name) => words.extend(["gate".to_owned(), text_hex(name)]),
            Self::Sleep(time) => words.extend(["sleep".to_owned(), time.as_millis().to_string()]),
            Self::WriteOn => say("write-on"),
            Self::Hang => say("hang"),
            Self::Close => say("close"),
            Self::Exit(code) => words.extend(["exit".to_owned(), code.to_string()]),
            Self::Die(signal) => words.extend(["die".to_owned(), signal.to_string()]),
            Self::NextRun => say("next-run"),
        }
        words.join(" ") + "\n"
    }
}

impl FromStr for Step {
    type Err = io::Error;

    fn from_str(line: &str) -> io::Result<Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("not a step: {line:?}"));
        let mut words = line.split(' ');
        let name = words.next().ok_or_else(bad)?;
        let mut word = || words.next().ok_or_else(bad);
        let step = match name {
            "request" => Self::Request,
            "ack" => Self::Ack,
            "eof" => Self::Eof,
            "send" => Self::Send(from_hex(word()?)?),
            "send-fds" => {
                let bytes = from_hex(word()?)?;
                Self::SendFds(
                    bytes,
                    words.map(Passed::from_word).collect::<io::Result<_>>()?,
                )
            }
            "send-zeros" => Self::SendZeros(word()?.parse().map_err(|_| bad())?),
            "stdout" => Self::Print(Stream::Out, text(word()?)?),
            "stderr" => Self::Print(Stream::Err, text(word()?)?),
            "log" => Self::Log(text(word()?)?),
            "image" => Self::Image(text(word()?)?, from_hex(word()?)?),
            "start-sibling" => Self::StartTask { sibling: true },
            "start-child" => Self::StartTask { sibling: false },
            "kill-task" => Self::KillTask,
            "leave-holder" => Self::LeaveHolder,
            "block-signals" => Self::BlockSignals,
            "mark" => Self::Mark(text(word()?)?),
            "gate" => Self::Gate(text(word()?)?),
            "sleep" => Self::Sleep(Duration::from_millis(word()?.parse().map_err(|_| bad())?)),
            "write-on" => Self::WriteOn,
            "hang" => Self::Hang,
            "close" => Self::Close,
            "exit" => Self::Exit(word()?.parse().map_err(|_| bad())?),
            "die" => Self::Die(word()?.parse().map_err(|_| bad())?),
            "next-run" => Self::NextRun,
            _ => return Err(bad()),
        };
        Ok(step)
    }
}

impl Passed {
    fn to_word(&self) -> String {
        match self {
            Self::Pipe(text) => format!("pipe:{}", text_hex(text)),
            Self::PtyMaster => "pty".to_owned(),
        }
    }

    fn from_word(word: &str) -> io::Result<Self> {
        match word.split_once(':') {
            Some(("pipe", hex)) => Ok(Self::Pipe(text(hex)?)),
            None if word == "pty" => Ok(Self::PtyMaster),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no such fd: {word:?}"),
            )),
        }
    }
}

/// Bytes as lower case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reverse of [`to_hex`].
pub(crate) fn from_hex(hex: &str) -> io::Result<Vec<u8>> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not hexadecimal: {hex:?}"),
        )
    };
    let digit = |c: u8| {
        char::from(c)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    hex.as_bytes()
        .chunks(2)
        .map(|two| pair(two).ok_or_else(bad))
        .collect()
}

fn text_hex(text: &str) -> String {
    to_hex(text.as_bytes())
}

/// The reverse of [`text_hex`].
pub(crate) fn text(hex: &str) -> io::Result<String> {
    String::from_utf8(from_hex(hex)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::{Passed, Step, Stream};
    use std::time::Duration;

    #[test]
    fn every_step_is_read_back() {
        let text = || " a\nb\u{e9} ".to_owned();
        for step in [
            Step::Request,
            Step::Ack,
            Step::Eof,
            Step::Send(vec![]),
            Step::Send(vec![0, 0x9f, 255]),
            Step::SendFds(vec![], vec![Passed::Pipe(String::new()), Passed::PtyMaster]),
            Step::SendFds(vec![1], vec![Passed::Pipe(text())]),
            Step::SendZeros(7),
            Step::Print(Stream::Out, text()),
            Step::Print(Stream::Err, String::new()),
            Step::Log(text()),
            Step::Image(text(), vec![1]),
            Step::StartTask { sibling: true },
            Step::StartTask { sibling: false },
            Step::KillTask,
            Step::LeaveHolder,
            Step::BlockSignals,
            Step::Mark(text()),
            Step::Gate(text()),
            Step::Sleep(Duration::from_millis(3)),
            Step::WriteOn,
            Step::Hang,
            Step::Close,
            Step::Exit(255),
            Step::Die(11),
            Step::NextRun,
        ] {
            let line = step.to_line();
            assert_eq!(
                line.trim_end_matches('\n').parse::<Step>().unwrap(),
                step,
                "{line:?}"
            );
        }
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for line in [
            "",
            "dump",
            "send",
            "send 0",
            "send 0g",
            "send-fds 00 x",
            "exit 256",
        ] {
            assert!(line.parse::<Step>().is_err(), "{line:?}");
        }
    }
}
