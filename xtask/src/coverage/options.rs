//! The tables of options: their setters, their parts and their values.

use super::known::REPLIES;
use super::report::{Report, code, is_absent, spaced};
use super::schema::{Field, rust_name};
use super::sources::{Function, Sources};
use super::tokens::Tokens;

impl<'r> Report<'r> {
    /// Each field of `criu_opts`, and its setters.
    pub(super) fn options(&mut self) {
        let since = since(self.sources, "OPTIONS");
        let mut rows = Vec::new();
        for field in self.fields("criu_opts") {
            let name = format!("criu_opts.{}", field.name);
            let found = since
                .iter()
                .find(|(number, known, _)| *number == field.number && *known == field.name);
            if found.is_none() {
                let number = field.number;
                self.problems
                    .push(format!("{name} ({number}) is not in criu-rpc/src/since.rs"));
            }
            let (mine, parts): (Vec<&Function>, Vec<_>) = self
                .setters(&field.name)
                .into_iter()
                .partition(|setter| self.sources.requests.contains(&setter.owner));
            let how = code(mine.iter().chain(&parts).map(|setter| self.shown(setter)));
            let how = self.judge(&name, how);
            let tested = match &*parts {
                [] => self.tested(|test| mine.iter().any(|setter| setter.is_called_in(test))),
                // A field of its own is more than the setter that takes it.
                parts => self.tested(|test| parts.iter().any(|part| part.is_called_in(test))),
            };
            rows.push(vec![
                field.number.to_string(),
                format!("`{}`", field.name),
                found.map_or(String::new(), |(.., release)| release.clone()),
                how,
                code(mine.iter().map(|setter| setter.owner.clone())),
                tested,
            ]);
        }
        self.table(
            "Options",
            &[
                "n",
                "`criu_opts`",
                "since",
                "setter",
                "requests",
                "tested in",
            ],
            rows,
        );
    }

    /// The setters of an option: functions of requests that give it a value or, where that
    /// is done later, that are named for it; and those of the types that they take.
    fn setters(&self, field: &str) -> Vec<&'r Function> {
        let sources = self.sources;
        let writes = |function: &Function| function.body.writes("CriuOpts", "options", field);
        if !sources.functions.iter().any(writes) {
            return Vec::new();
        }
        let is_of_request = |function: &&Function| sources.requests.contains(&function.owner);
        let mut found = sources.public(|function| writes(function) || function.is_for(field));
        found.retain(is_of_request);
        let parts = sources.functions.iter().filter(|part| {
            let is_taken = || found.iter().any(|f| f.parameters.has(&part.owner));
            part.is_public && part.is_for(field) && !is_of_request(part) && is_taken()
        });
        let parts: Vec<_> = parts.collect();
        found.extend(parts);
        found
    }

    /// A setter as a user of the request knows it.
    fn shown(&self, setter: &Function) -> String {
        if self.sources.requests.contains(&setter.owner) {
            setter.name.clone()
        } else {
            setter.path()
        }
    }

    /// The fields of messages inside options.
    pub(super) fn parts(&mut self) {
        let mut rows = Vec::new();
        for message in self.schema.inside("criu_opts", is_absent) {
            let kind = rust_name(message);
            let options = self.fields("criu_opts").iter();
            let holders: Vec<_> = options.filter(|option| option.holds == message).collect();
            for field in self.fields(message) {
                let name = format!("{message}.{}", field.name);
                let member = format!(". {} =", field.name);
                let writes = |function: &Function| {
                    function.body.writes(&kind, &kind, &field.name)
                        || function.owner == kind && function.body.has(&member)
                };
                let mut setters = self.sources.public(writes);
                if setters.is_empty() && self.sources.functions.iter().any(writes) {
                    // When the request is sent, from what these kept.
                    let named = |holder: &&Field| {
                        let setters = self.setters(&holder.name);
                        let named = setters.into_iter().filter(|f| f.is_for(&holder.name));
                        named.collect::<Vec<_>>()
                    };
                    setters = holders.iter().flat_map(named).collect();
                }
                let mut how = code(setters.iter().map(|setter| self.shown(setter)));
                if how.is_empty() && REPLIES.iter().any(|(reply, ..)| *reply == name) {
                    how = "only in answers".to_owned();
                }
                let how = self.judge(&name, how);
                let tested =
                    self.tested(|test| setters.iter().any(|setter| setter.is_called_in(test)));
                rows.push(vec![format!("`{name}`"), how, tested]);
            }
        }
        self.table("", &["inside an option", "set by", "tested in"], rows);
    }

    /// The values of enums in options.
    pub(super) fn values(&mut self) {
        let mut rows = Vec::new();
        for kind in &self.schema.enums {
            if kind.name == "criu_req_type" {
                continue;
            }
            for value in &kind.fields {
                let name = format!("{}.{}", kind.name, value.name);
                let (kind, value_name) = (rust_name(&kind.name), rust_name(&value.name));
                let typed = self.sources.arms(&kind, &value_name);
                let how = self.judge(&name, code(typed.iter().cloned()));
                let tested = self.tested(|test| typed.iter().any(|path| test.has(&spaced(path))));
                rows.push(vec![
                    value.number.to_string(),
                    format!("`{name}`"),
                    how,
                    tested,
                ]);
            }
        }
        self.table(
            "",
            &["n", "value of an option", "in Rust", "tested in"],
            rows,
        );
    }
}

/// The rows of a table in `since.rs`: number (0 if it has none), CRIU's name, release.
pub(super) fn since(sources: &Sources, table: &str) -> Vec<(i32, String, String)> {
    let tokens = sources
        .constants
        .get(table)
        .map_or(&[][..], Tokens::as_slice);
    let mut rows = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let name = token
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'));
        let Some(name) = name else { continue };
        let number = at.checked_sub(2).and_then(|at| tokens[at].parse().ok());
        let numbers = tokens[at..].iter().skip_while(|token| *token != "new");
        let numbers: Vec<_> = numbers
            .filter(|token| token.starts_with(|c: char| c.is_ascii_digit()))
            .take(3)
            .map(|number| &**number)
            .collect();
        let release = match numbers[..] {
            [major, minor, "0"] => format!("{major}.{minor}"),
            _ => numbers.join("."),
        };
        rows.push((number.unwrap_or(0), name.to_owned(), release));
    }
    rows
}
