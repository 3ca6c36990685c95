use std::io::BufRead;

use crate::error::{Defect, Part, Result};
use crate::input::Input;

/// Longest line that is read, with its end; the tools that write these texts make none
/// near it.
pub(crate) const LINE_LIMIT: usize = 1 << 20;

/// The lines of a text image, without their ends. What is not UTF-8 is replaced.
#[derive(Debug)]
pub struct Lines<R> {
    input: Input<R>,
    done: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads a text; errors tell it as `file`.
    pub fn new(file: &str, reader: R) -> Self {
        Self {
            input: Input::new(reader, Some(file.into())),
            done: false,
        }
    }

    /// The next line as it is, with its end.
    pub(crate) fn whole(&mut self) -> Result<Option<Vec<u8>>> {
        if self.done {
            return Ok(None);
        }
        let next = self.advance();
        self.done |= !matches!(next, Ok(Some(_)));
        next
    }

    fn advance(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            let buffer = self.input.fill()?;
            if buffer.is_empty() {
                self.done = true;
                return Ok((!line.is_empty()).then_some(line));
            }
            let end = buffer.iter().position(|b| *b == b'\n');
            let piece = &buffer[..end.map_or(buffer.len(), |end| end + 1)];
            let room = LINE_LIMIT - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            let count = piece.len();
            if count > room {
                return Err(self.input.malformed(Defect::TooLong {
                    what: Part::Structure,
                    length: u64::try_from(LINE_LIMIT).unwrap_or(0) + 1,
                    limit: u64::try_from(LINE_LIMIT).unwrap_or(0),
                }));
            }
            self.input.consume(count);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.whole().transpose()?;
        Some(line.map(|line| {
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            String::from_utf8_lossy(line).into_owned()
        }))
    }
}

impl<R: BufRead> std::iter::FusedIterator for Lines<R> {}

/// One line of `iptables-save`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleLine<'a> {
    /// `*filter`: what follows is of this table.
    Table(&'a str),
    /// `:INPUT ACCEPT [0:0]`: a chain; of its own chains, `policy` is `-`.
    Chain {
        /// Name of the chain.
        name: &'a str,
        /// What happens to a packet no rule takes.
        policy: &'a str,
    },
    /// `-A INPUT …`: a rule.
    Rule {
        /// Name of the chain.
        chain: &'a str,
        /// Matches and target.
        text: &'a str,
    },
    /// `COMMIT`: the table ends.
    Commit,
    /// A comment, or nothing.
    Blank,
}

impl<'a> RuleLine<'a> {
    /// Takes a line apart, if it is one of these.
    pub fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Some(Self::Blank);
        }
        if line == "COMMIT" {
            return Some(Self::Commit);
        }
        if let Some(table) = line.strip_prefix('*') {
            return Some(Self::Table(table));
        }
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            return Some(Self::Chain {
                name: words.next()?,
                policy: words.next()?,
            });
        }
        // Counters come before a rule, if they were asked for.
        let rule = match line.strip_prefix('[') {
            Some(counted) => counted.split_once("] ")?.1,
            None => line,
        };
        let rule = rule.strip_prefix("-A ")?;
        let (chain, text) = rule.split_once(' ').unwrap_or((rule, ""));
        Some(Self::Rule { chain, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_rules_are_read() {
        let text = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT";
        let lines: Vec<_> = Lines::new("iptables-1.img", text.as_bytes())
            .collect::<Result<_>>()
            .unwrap();
        let parsed: Vec<_> = lines.iter().filter_map(|l| RuleLine::parse(l)).collect();
        let input = RuleLine::Chain {
            name: "INPUT",
            policy: "ACCEPT",
        };
        let rule = RuleLine::Rule {
            chain: "INPUT",
            text: "-i lo -j ACCEPT",
        };
        let table = RuleLine::Table("filter");
        let wanted = [RuleLine::Blank, table, input, rule, RuleLine::Commit];
        assert_eq!(parsed, wanted);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let text = vec![b'x'; LINE_LIMIT + 2];
        let mut lines = Lines::new("nftables-1.img", &text[..]);
        lines.next().unwrap().unwrap_err();
        assert!(lines.next().is_none());
    }
}
