//! A stretch of Rust as the words it is made of, in which patterns are looked for.

use proc_macro2::{Delimiter, Spacing, TokenTree};

/// How a list is written to, after its name.
const ADDS: [&str; 5] = [
    "push",
    "extend",
    "insert",
    "get_or_insert",
    "get_or_insert_with",
];

/// The tokens of some code. `::`, `=>` and their like are one; there are no comments.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    all: Vec<String>,
    /// The same in one piece, a space around each: most patterns are not there, and this
    /// tells fast. A space inside a literal is another character here.
    text: String,
}

impl Tokens {
    pub(super) fn of<'t>(trees: impl IntoIterator<Item = &'t TokenTree>) -> Self {
        let mut tokens = Self::default();
        tokens.add(trees);
        tokens
    }

    pub(super) fn add<'t>(&mut self, trees: impl IntoIterator<Item = &'t TokenTree>) {
        self.split(trees);
        self.text = String::from(" ");
        for token in &self.all {
            self.text.push_str(&token.replace(' ', "\u{a0}"));
            self.text.push(' ');
        }
    }

    fn split<'t>(&mut self, trees: impl IntoIterator<Item = &'t TokenTree>) {
        let mut is_joint = false;
        for tree in trees {
            let was_joint = std::mem::take(&mut is_joint);
            match tree {
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::None => ("", ""),
                    };
                    self.all.push(open.to_owned());
                    self.split(&group.stream().into_iter().collect::<Vec<_>>());
                    self.all.push(close.to_owned());
                }
                TokenTree::Ident(ident) => {
                    let name = ident.to_string();
                    self.all.push(name.trim_start_matches("r#").to_owned());
                }
                TokenTree::Punct(punct) => {
                    match self.all.last_mut().filter(|_| was_joint) {
                        Some(last) => last.push(punct.as_char()),
                        None => self.all.push(punct.to_string()),
                    }
                    is_joint = punct.spacing() == Spacing::Joint;
                }
                TokenTree::Literal(literal) => self.all.push(literal.to_string()),
            }
        }
    }

    pub(super) fn as_slice(&self) -> &[String] {
        &self.all
    }

    /// Where a pattern begins; its tokens are separated by spaces.
    pub(super) fn find(&self, pattern: &str) -> impl Iterator<Item = usize> {
        let end = if self.has(pattern) { self.all.len() } else { 0 };
        let pattern: Vec<_> = pattern.split(' ').map(str::to_owned).collect();
        (0..end).filter(move |&start| self.all[start..].starts_with(&pattern))
    }

    pub(super) fn has(&self, pattern: &str) -> bool {
        let mut found = self.text.match_indices(pattern);
        let edge = |at: usize| self.text.as_bytes().get(at) == Some(&b' ');
        found.any(|(at, _)| edge(at.wrapping_sub(1)) && edge(at + pattern.len()))
    }

    /// Whether the name here is called with arguments, on something or, in a table of calls
    /// that a macro makes, in front of `=>`.
    pub(super) fn is_method_call(&self, name: usize) -> bool {
        let inside = &self.all[name + 2..];
        let on_something = name.checked_sub(1).is_some_and(|at| self.all[at] == ".");
        let in_table = || after_close(inside).is_some_and(|token| token == "=>");
        inside.first().is_some_and(|token| token != ")") && (on_something || in_table())
    }

    /// The texts of the string literals.
    pub(super) fn strings(&self) -> impl Iterator<Item = &str> {
        self.all
            .iter()
            .filter_map(|token| token.strip_prefix('"')?.strip_suffix('"'))
    }

    /// Whether a field is given a value: in a literal of its message, or as a member of
    /// what `holder` names.
    pub(super) fn writes(&self, message: &str, holder: &str, field: &str) -> bool {
        let member = format!("{holder} . {field}");
        let by_name = self.find(&member).any(|start| {
            let rest = &self.all[start + 3..];
            match rest {
                [is, ..] if is == "=" => {
                    let value = rest.split(|token| token == ";").next().unwrap_or(rest);
                    // What another option undoes is not set by it.
                    let undone = [holder, ".", field];
                    !value.windows(3).any(|part| part == undone)
                }
                [dot, call, ..] if dot == "." => ADDS.contains(&&**call),
                _ => false,
            }
        });
        by_name
            || self.has(&format!("{holder} . set_{field} ("))
            || self
                .find(&format!("{message} {{"))
                .any(|start| has_member(&self.all[start + 2..], field))
    }

    /// Whether a field of an answer is read, in code that names its message or a field that
    /// holds it.
    pub(super) fn reads(&self, field: &str) -> bool {
        let member = format!(". {field}");
        self.find(&member)
            .any(|start| start.checked_sub(1).is_none_or(|at| self.all[at] != "self"))
    }
}

/// The token after the bracket that ends this.
fn after_close(rest: &[String]) -> Option<&String> {
    let mut depth = 1;
    for (at, token) in rest.iter().enumerate() {
        match &**token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return rest.get(at + 1);
        }
    }
    None
}

/// Whether the rest of a literal gives a field a value other than `None`.
fn has_member(rest: &[String], field: &str) -> bool {
    let mut depth = 0;
    for (at, token) in rest.iter().enumerate() {
        match &**token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return false,
            ")" | "]" | "}" => depth -= 1,
            name if name == field && depth == 0 => {
                let begins = at.checked_sub(1).is_none_or(|before| rest[before] == ",");
                let after = [at + 1, at + 2].map(|at| rest.get(at).map_or("", |token| token));
                match after {
                    [":", value] if begins => return value != "None",
                    ["," | "}", _] if begins => return true,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use proc_macro2::{TokenStream, TokenTree};

    use super::Tokens;

    fn tokens(code: &str) -> Tokens {
        let trees: Vec<TokenTree> = TokenStream::from_str(code).unwrap().into_iter().collect();
        Tokens::of(&trees)
    }

    fn writes(code: &str, field: &str) -> bool {
        tokens(code).writes("CriuOpts", "options", field)
    }

    #[test]
    fn a_pattern_is_found_across_lines_and_not_in_comments_or_strings() {
        let code = tokens("a\n.b(1) // a . c\n; \"a . d\"; x == y; r#type::Z => 1");
        assert!(code.has("a . b ("));
        assert!(!code.has("a . c"));
        assert!(!code.has("a . d"));
        assert!(code.has("x == y"));
        assert!(!code.has("x ="));
        assert!(code.has("type :: Z =>"));
    }

    #[test]
    fn assignments_additions_and_literals_write() {
        assert!(writes("draft.options.tls = Some(true);", "tls"));
        assert!(writes("self.options\n.skip_mnt\n.push(x)", "skip_mnt"));
        assert!(writes(
            "options.track_mem.get_or_insert(true);",
            "track_mem"
        ));
        assert!(writes("options.set_timeout(5);", "timeout"));
        let literal = "proto::CriuOpts { pid: Some(p(a, b)), root, ..self.options }";
        assert!(writes(literal, "pid"));
        assert!(writes(literal, "root"));
    }

    #[test]
    fn reading_undoing_and_other_messages_do_not_write() {
        assert!(!writes("if options.tls == other {}", "tls"));
        assert!(!writes(
            "let name = self.options.log_file.take();",
            "log_file"
        ));
        assert!(!writes("options.tls_key = x;", "tls"));
        assert!(!writes(
            "options.leave_stopped = options.leave_stopped.filter(|_| !on);",
            "leave_stopped"
        ));
        assert!(!writes("CriuOpts { root: None }", "root"));
        assert!(!writes("CriuOpts { ps: Other { port: 1 } }", "port"));
        assert!(!writes("CriuOpts { a: f(pid, 1) }", "pid"));
        assert!(!writes("Other { pid: 1 }", "pid"));
    }

    #[test]
    fn calls_with_arguments_are_told_from_other_uses_of_a_name() {
        let calls = |code: &str| {
            let tokens = tokens(code);
            tokens.find("root (").any(|at| tokens.is_method_call(at))
        };
        assert!(calls("restore.root(\"/x\")"));
        assert!(calls("table! { Restore; root(f(1)) => root = text; }"));
        assert!(!calls("scratch.root()"));
        assert!(!calls("fn root(x: u8) {}"));
        assert!(!calls("let x = root(1);"));
    }

    #[test]
    fn members_of_self_are_not_fields_of_an_answer() {
        assert!(tokens("restore.pid").reads("pid"));
        assert!(!tokens("self.pid").reads("pid"));
        assert!(!tokens("pid").reads("pid"));
    }
}
