//! The tables, and what is wrong with them.

use std::collections::BTreeSet;

use super::known::{ABSENT, REPLIES, STAGES};
use super::options::since;
use super::schema::{Field, Schema, rust_name};
use super::sources::{Function, Sources};
use super::tokens::Tokens;

/// The tables, and why they are not good enough.
pub(super) struct Report<'r> {
    pub(super) schema: &'r Schema,
    pub(super) sources: &'r Sources,
    pub(super) text: String,
    pub(super) problems: Vec<String>,
}

impl<'r> Report<'r> {
    pub(super) fn new(schema: &'r Schema, sources: &'r Sources) -> Self {
        let mut report = Self {
            schema,
            sources,
            text: String::new(),
            problems: Vec::new(),
        };
        report.requests();
        report.options();
        report.parts();
        report.values();
        report.stages();
        report.answers();
        report
    }

    /// Each value of `criu_req_type`, and what sends it.
    fn requests(&mut self) {
        let types = self.schema.one("criu_req_type");
        let since = since(self.sources, "REQUESTS");
        let mut rows = Vec::new();
        for kind in types.map_or(&[][..], |types| &types.fields) {
            let value = rust_name(&kind.name);
            let operations = self.sources.arms("CriuReqType", &value).into_iter();
            let mut items: BTreeSet<_> = operations.filter_map(|arm| self.linked(&arm)).collect();
            let set = [
                format!("set_type ( proto :: CriuReqType :: {value}"),
                format!("type : proto :: CriuReqType :: {value}"),
            ];
            let sends = |function: &Function| set.iter().any(|set| function.body.has(set));
            items.extend(self.sources.public(sends).into_iter().map(Function::path));
            if items.is_empty() && self.sources.functions.iter().any(sends) {
                // The one that is sent between a request and its answer.
                items.insert("Answer".to_owned());
            }
            let how = self.judge(
                &format!("criu_req_type.{}", kind.name),
                code(items.iter().cloned()),
            );
            let release = since.iter().find(|(_, name, _)| *name == kind.name);
            let tested = self.tested(|test| {
                test.has(&format!("CriuReqType :: {value}"))
                    || items.iter().any(|item| self.is_used(item, test))
            });
            rows.push(vec![
                kind.number.to_string(),
                format!("`{}`", kind.name),
                release.map_or("≤ 3.0", |(.., release)| release).to_owned(),
                how,
                tested,
            ]);
        }
        self.table(
            "Requests",
            &["n", "`criu_req_type`", "since", "request", "tested in"],
            rows,
        );

        let mut rows = Vec::new();
        for field in self.fields("criu_req") {
            let writes = |function: &&Function| {
                let body = &function.body;
                body.writes("CriuReq", "message", &field.name)
            };
            let by = code(
                self.sources
                    .functions
                    .iter()
                    .filter(writes)
                    .map(Function::path),
            );
            let how = self.judge(&format!("criu_req.{}", field.name), by);
            let seen = [". received (", ". request (", ". requests ("];
            let member = format!(". {}", field.name);
            let tested =
                self.tested(|test| test.has(&member) && seen.iter().any(|seen| test.has(seen)));
            rows.push(vec![
                field.number.to_string(),
                format!("`{}`", field.name),
                how,
                tested,
            ]);
        }
        self.table("", &["n", "`criu_req`", "written by", "tested in"], rows);
    }

    /// CRIU's stages.
    fn stages(&mut self) {
        let none = Tokens::default();
        let names = self.sources.constants.get("NAMES").unwrap_or(&none);
        let mut rows = Vec::new();
        for stage in STAGES {
            let variants = self.sources.enums.get("Stage").into_iter().flatten();
            let row = |variant: &&(String, String)| {
                names.has(&format!("Self :: {} , \"{stage}\"", variant.0))
            };
            let found = variants.clone().find(row);
            let path = found.map(|(name, _)| format!("Stage::{name}"));
            let how = self.judge(&format!("stage {stage}"), code(path.clone()));
            let tested = self.tested(|test| {
                test.has(&format!("\"{stage}\""))
                    || path.as_ref().is_some_and(|path| test.has(&spaced(path)))
            });
            let means = found.map_or(String::new(), |(_, doc)| doc.clone());
            rows.push(vec![format!("`{stage}`"), how, means, tested]);
        }
        self.table(
            "Stages",
            &["`criu_notify.script`", "stage", "when", "tested in"],
            rows,
        );
    }

    /// Each field of an answer, and where a user sees it.
    fn answers(&mut self) {
        let mut rows = Vec::new();
        let asked = self.schema.inside("criu_req", is_absent);
        let inside = self.schema.inside("criu_resp", is_absent);
        for message in std::iter::once("criu_resp").chain(inside) {
            for field in self.fields(message) {
                let name = format!("{message}.{}", field.name);
                let reply = REPLIES.iter().find(|(reply, ..)| *reply == name);
                if reply.is_none() && asked.contains(message) {
                    continue; // a part of an option
                }
                let item = reply.map(|(_, item, _)| *item);
                if let Some(item) = item
                    && let Some(kind) = item.split("::").next()
                    && !self.sources.exports.contains(kind)
                {
                    self.problems
                        .push(format!("{name}: {kind} is not exported"));
                }
                let is_read = self.is_read(message, &field.name);
                let how = code(item.filter(|_| is_read).map(str::to_owned));
                let how = self.judge(&name, how);
                let signs = reply.map_or(&[][..], |(.., signs)| signs);
                let tested = self
                    .tested(|test| !signs.is_empty() && signs.iter().all(|sign| test.has(sign)));
                rows.push(vec![
                    field.number.to_string(),
                    format!("`{name}`"),
                    how,
                    tested,
                ]);
            }
        }
        self.table("Answers", &["n", "field", "seen as", "tested in"], rows);
    }

    /// Whether some function that has a message in its hands reads a field of it.
    fn is_read(&self, message: &str, field: &str) -> bool {
        let kind = rust_name(message);
        let fields = self.fields("criu_resp").iter();
        let holders = fields.filter(|holder| holder.holds == message);
        let held: Vec<_> = holders
            .map(|holder| format!("response . {}", holder.name))
            .collect();
        self.sources.functions.iter().any(|function| {
            let code = [&function.parameters, &function.body];
            let has = |pattern: &str| code.iter().any(|code| code.has(pattern));
            let in_hands = has(&kind)
                || held.iter().any(|held| has(held))
                || message == "criu_resp" && has("response");
            in_hands && function.body.reads(field)
        })
    }

    pub(super) fn fields(&self, message: &str) -> &'r [Field] {
        self.schema
            .one(message)
            .map_or(&[], |message| &message.fields)
    }

    /// What the documentation of an `Operation` links to.
    fn linked(&self, arm: &str) -> Option<String> {
        let variant = arm.strip_prefix("Operation::")?;
        let variants = self.sources.enums.get("Operation")?;
        let (_, doc) = variants.iter().find(|(name, _)| name == variant)?;
        let (_, rest) = doc.split_once("[`")?;
        Some(rest.split_once('`')?.0.to_owned())
    }

    /// Whether a test makes a request, calls a method, or a function of `Criu` that does it.
    fn is_used(&self, item: &str, test: &Tokens) -> bool {
        let mut functions = self.sources.functions.iter();
        match item.split_once("::") {
            Some((owner, name)) => {
                let called = |f: &Function| f.is_called_in(test);
                functions.any(|f| f.owner == owner && f.name == name && called(f))
            }
            None => {
                let path = format!("{item} ::");
                test.has(&path)
                    || functions
                        .any(|f| f.owner == "Criu" && f.body.has(&path) && f.is_called_in(test))
            }
        }
    }

    /// The cell that says how something is reached, or why it is not; empty is a problem,
    /// and so is a reason for nothing.
    pub(super) fn judge(&mut self, name: &str, how: String) -> String {
        let reason = ABSENT.iter().find(|(absent, _)| *absent == name);
        match (reason, how.is_empty()) {
            (None, false) => return how,
            (None, true) => self.problems.push(format!("{name} cannot be reached")),
            (Some((_, reason)), true) => return format!("none: {reason}"),
            (Some(_), false) => self
                .problems
                .push(format!("{name} has a reason to be absent, but is there")),
        }
        how
    }

    pub(super) fn tested(&self, is_tested: impl Fn(&Tokens) -> bool) -> String {
        let tests = self
            .sources
            .tests
            .iter()
            .filter(|(_, test)| is_tested(test));
        code(tests.map(|(file, _)| file.clone()))
    }

    pub(super) fn table(&mut self, title: &str, head: &[&str], rows: Vec<Vec<String>>) {
        if !title.is_empty() {
            self.text.push_str(&format!("## {title}\n\n"));
        }
        self.text.push_str(&format!("| {} |\n", head.join(" | ")));
        self.text
            .push_str(&format!("|{}\n", "---|".repeat(head.len())));
        for row in rows {
            self.text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        self.text.push('\n');
    }
}

pub(super) fn is_absent(name: &str) -> bool {
    ABSENT.iter().any(|(absent, _)| *absent == name)
}

/// A path as its tokens.
pub(super) fn spaced(path: &str) -> String {
    path.replace("::", " :: ")
}

/// Names as code, each once.
pub(super) fn code(names: impl IntoIterator<Item = String>) -> String {
    let mut seen = Vec::new();
    for name in names {
        let name = format!("`{name}`");
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Report, Schema, Sources};

    const SCHEMA: &str = "syntax = \"proto2\";
        enum criu_req_type { EMPTY = 0; DUMP = 1; CHECK = 3; }
        enum criu_cg_mode { SOFT = 3; FULL = 4; }
        message criu_req { required criu_req_type type = 1; optional criu_opts opts = 2; }
        message criu_opts {
            optional int32 pid = 2; repeated old veths = 19; optional bool tcp_close = 52;
            optional criu_cg_mode mode = 34; optional bool tls = 58; optional string key = 57;
        }
        message old { optional string name = 1; }
        message criu_resp { required bool success = 2; optional int32 cr_errno = 7; }";

    const CODE: &str = r#"
        pub struct Dump<'a>(Draft<'a>);
        /// Kinds.
        enum Operation {
            /// [`Dump`](crate::Dump).
            Dump,
        }
        impl Operation {
            fn kind(self) { match self { Self::Dump => proto::CriuReqType::Dump } }
        }
        const OPTIONS: [(u32, &str, Version); 5] = [
            (2, "pid", Version::new(0, 8, 0)), (19, "veths", Version::new(1, 2, 0)),
            (34, "mode", Version::new(2, 4, 1)), (57, "key", Version::new(3, 13, 0)),
            (58, "tls", Version::new(3, 13, 0)),
        ];
        setters! { Dump => {
            fn mode(draft, mode: Cg) {
                draft.options.mode = match mode { Cg::Soft => proto::CriuCgMode::Soft };
            }
            fn tls(draft, tls: Tls) { draft.options.tls = on; draft.options.key = tls.key; }
        }}
        impl Tls {
            #[doc(alias = "key")]
            pub fn secret(mut self, key: &str) -> Self { self.key = key; self }
        }
        impl Draft<'_> {
            fn prepare(self) { CriuReq { type: x, opts: Some(CriuOpts { pid: Some(1) }) } }
        }
        fn errno(response: &CriuResp) -> i32 { response.success }
    "#;

    fn problems(code: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.proto"), SCHEMA).unwrap();
        let schema = Schema::read(folder.path(), "x.proto").unwrap();
        let mut sources = Sources::default();
        sources.add("src/x.rs", code).unwrap();
        sources
            .exports
            .extend(["Error", "Failure"].map(str::to_owned));
        let test = "fn t() { x.tls(Tls::new()); CriuReqType::Dump }";
        sources.add_test("tests/t.rs", test).unwrap();
        let report = Report::new(&schema, &sources);
        for row in [
            "| 1 | `DUMP` | ≤ 3.0 | `Dump` | `tests/t.rs` |",
            "| 34 | `mode` | 2.4.1 | `mode` | `Dump` |  |",
            "| 58 | `tls` | 3.13 | `tls` | `Dump` | `tests/t.rs` |",
            "| 57 | `key` | 3.13 | `tls`, `Tls::secret` | `Dump` |  |",
            "| 3 | `criu_cg_mode.SOFT` | `Cg::Soft` |  |",
            "| 2 | `criu_resp.success` | `Error::Failed` |  |",
        ] {
            assert!(report.text.contains(row), "no {row} in {}", report.text);
        }
        let problems = report.problems.into_iter();
        problems
            .filter(|problem| !problem.starts_with("stage "))
            .collect()
    }

    #[test]
    fn what_cannot_be_reached_is_a_problem() {
        // A pid that is written but by no setter, an enum value, an answer that is not read.
        let expected = [
            "criu_req_type.CHECK cannot be reached",
            "criu_opts.pid cannot be reached",
            "criu_opts.tcp_close (52) is not in criu-rpc/src/since.rs",
            "criu_opts.tcp_close cannot be reached",
            "criu_cg_mode.FULL cannot be reached",
            "criu_resp.cr_errno cannot be reached",
        ];
        assert_eq!(problems(CODE), expected);
    }

    #[test]
    fn a_reason_for_what_is_there_is_a_problem() {
        let setter = "setters! { Dump => { fn veth(draft) { draft.options.veths.push(x); } }}";
        let found = problems(&format!("{CODE}{setter}"));
        let expected = "criu_opts.veths has a reason to be absent, but is there";
        assert!(found.iter().any(|problem| problem == expected), "{found:?}");
    }
}
