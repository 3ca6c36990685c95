//! What stands in Rust sources, by name: no types are known, and none are needed.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

use super::tokens::Tokens;

/// What is known of a crate.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) functions: Vec<Function>,
    /// Enums, with their variants and what is said of each.
    pub(super) enums: BTreeMap<String, Vec<(String, String)>>,
    pub(super) constants: BTreeMap<String, Tokens>,
    /// What `lib.rs` exports.
    pub(super) exports: BTreeSet<String>,
    /// Types made of a draft: requests with options.
    pub(super) requests: BTreeSet<String>,
    /// Test code, by file.
    pub(super) tests: BTreeMap<String, Tokens>,
}

#[derive(Debug)]
pub(super) struct Function {
    /// The type it is of, or the file of one that is of none.
    pub(super) owner: String,
    pub(super) name: String,
    /// Whether it is `pub`, not just `pub(crate)`.
    pub(super) is_public: bool,
    /// CRIU's words for it: `#[doc(alias = "…")]`.
    pub(super) aliases: Vec<String>,
    pub(super) parameters: Tokens,
    pub(super) body: Tokens,
}

/// Where an item stands.
struct Place<'p> {
    file: &'p str,
    owners: Vec<String>,
    in_setters: bool,
}

impl Sources {
    /// Reads a file of the crate.
    pub(super) fn add(&mut self, file: &str, text: &str) -> Result<(), LexError> {
        let stream = TokenStream::from_str(text)?;
        let stem = file.rsplit('/').next().unwrap_or(file);
        if stem == "tests.rs" {
            return self.add_test(file, text);
        }
        let place = Place {
            file,
            owners: vec![stem.trim_end_matches(".rs").to_owned()],
            in_setters: false,
        };
        self.walk(stream, &place);
        Ok(())
    }

    /// Reads a file that is a test as a whole.
    pub(super) fn add_test(&mut self, file: &str, text: &str) -> Result<(), LexError> {
        let trees: Vec<_> = TokenStream::from_str(text)?.into_iter().collect();
        self.add_tokens(file, &trees);
        Ok(())
    }

    fn add_tokens(&mut self, test: &str, trees: &[TokenTree]) {
        self.tests.entry(test.to_owned()).or_default().add(trees);
    }

    /// An item ends with its braces, or with a semicolon.
    fn walk(&mut self, stream: TokenStream, place: &Place<'_>) {
        let mut item = Vec::new();
        for tree in stream {
            let ends = match &tree {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                TokenTree::Punct(punct) => punct.as_char() == ';',
                _ => false,
            };
            item.push(tree);
            if ends {
                self.item(&std::mem::take(&mut item), place);
            }
        }
    }

    fn item(&mut self, item: &[TokenTree], place: &Place<'_>) {
        let (attributes, item) = attributes(item);
        let words: Vec<_> = item.iter().map(ToString::to_string).collect();
        let body = match item.last() {
            Some(TokenTree::Group(body)) => body.stream(),
            _ => TokenStream::new(),
        };
        if attributes
            .iter()
            .any(|attribute| attribute.has("cfg (") && attribute.has("test"))
        {
            self.add_tokens(place.file, item);
            return;
        }
        let visibility = words
            .iter()
            .take_while(|word| *word == "pub" || word.starts_with('('));
        let visibility: Vec<_> = visibility.collect();
        let is_public = visibility == ["pub"];
        let words = &words[visibility.len()..];
        // `async`, `const` and `unsafe` come before it.
        let is_function = words.iter().take(4).position(|word| word == "fn");
        let is = |kind: &str| is_function.is_none() && words.first().is_some_and(|w| w == kind);
        let name = words
            .get(is_function.unwrap_or(0) + 1)
            .cloned()
            .unwrap_or_default();
        if let Some(at) = is_function {
            let list = item.iter().skip(visibility.len() + at).find_map(list);
            let list: Vec<_> = list.into_iter().flatten().collect();
            let aliases = attributes.iter().filter(|doc| doc.has("doc ( alias"));
            let aliases: Vec<_> = aliases
                .flat_map(|doc| doc.strings().map(str::to_owned))
                .collect();
            for owner in &place.owners {
                self.functions.push(Function {
                    owner: owner.clone(),
                    name: name.clone(),
                    is_public: is_public || place.in_setters,
                    aliases: aliases.clone(),
                    parameters: Tokens::of(&list),
                    body: Tokens::of(item.last()),
                });
            }
        } else if is("impl") {
            let owners = vec![implemented(&Tokens::of(&item[..item.len() - 1]))];
            self.walk(body, &Place { owners, ..*place });
        } else if is("mod") {
            let owners = place.owners.clone();
            self.walk(body, &Place { owners, ..*place });
        } else if is("setters") {
            self.setters(body, place);
        } else if is("enum") {
            self.enums.insert(name, variants(body));
        } else if is("const") {
            self.constants.insert(name, Tokens::of(item));
        } else if is("struct")
            && Tokens::of(item).has("Draft <'")
            && words.last().is_some_and(|w| w == ";")
        {
            self.requests.insert(name);
        } else if is("use") && is_public && place.file.ends_with("src/lib.rs") {
            self.exports
                .extend(Tokens::of(item).as_slice().iter().cloned());
        }
    }

    /// `A, B => { fn … }`
    fn setters(&mut self, stream: TokenStream, place: &Place<'_>) {
        let trees: Vec<_> = stream.into_iter().collect();
        if let Some((TokenTree::Group(group), names)) = trees.split_last() {
            let names = names.iter().filter_map(|tree| match tree {
                TokenTree::Ident(name) => Some(name.to_string()),
                _ => None,
            });
            let place = Place {
                owners: names.collect(),
                in_setters: true,
                ..*place
            };
            self.walk(group.stream(), &place);
        }
    }

    /// A function and all that it calls of its own type or of its draft.
    pub(super) fn with_called<'s>(&'s self, function: &'s Function) -> Vec<&'s Function> {
        let mut found = vec![function];
        let mut next = 0;
        while let Some(&caller) = found.get(next) {
            next += 1;
            for callee in &self.functions {
                let called = |by: &str| caller.body.has(&format!("{by} {} (", callee.name));
                let calls = callee.owner == caller.owner && (called("self .") || called("Self ::"))
                    || callee.owner == "Draft" && (called("draft .") || called("self . 0 ."));
                if calls && !found.iter().any(|known| std::ptr::eq(*known, callee)) {
                    found.push(callee);
                }
            }
        }
        found
    }

    /// The public functions that do something, themselves or through what they call.
    pub(super) fn public(&self, does: impl Fn(&Function) -> bool) -> Vec<&Function> {
        let public = self.functions.iter().filter(|function| {
            function.is_public && self.with_called(function).into_iter().any(&does)
        });
        public.collect()
    }

    /// The paths that a `match` turns into a value of an enum of the schema, such as
    /// `NetworkLock::Skip`.
    pub(super) fn arms(&self, kind: &str, value: &str) -> Vec<String> {
        let mut found = Vec::new();
        for function in &self.functions {
            let into_self = (function.owner == kind).then(|| format!("=> Self :: {value}"));
            let patterns = [format!("=> proto :: {kind} :: {value}")]
                .into_iter()
                .chain(into_self);
            for at in patterns.flat_map(|pattern| function.body.find(&pattern).collect::<Vec<_>>())
            {
                let mut before = &function.body.as_slice()[..at];
                while let [rest @ .., owner, colons, variant] = before
                    && colons == "::"
                    && owner != kind
                {
                    let owner = if owner == "Self" {
                        &function.owner
                    } else {
                        owner
                    };
                    found.push(format!("{owner}::{variant}"));
                    before = match rest {
                        [rest @ .., or] if or == "|" => rest,
                        _ => &[],
                    };
                }
            }
        }
        found
    }
}

impl Function {
    pub(super) fn path(&self) -> String {
        format!("{}::{}", self.owner, self.name)
    }

    /// Whether it has CRIU's name for something.
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Whether test code calls it.
    pub(super) fn is_called_in(&self, test: &Tokens) -> bool {
        let mut parameters = self.parameters.as_slice().split(|token| token == ",");
        let first = parameters.next().unwrap_or_default();
        let is_method = first
            .iter()
            .any(|token| token == "self" || token == "draft");
        if is_method {
            // Methods of other types may have the name, but then not all of this.
            let call = format!(". {} (", self.name);
            if parameters.next().is_some() {
                let mut calls = test.find(&call[2..]);
                calls.any(|at| test.is_method_call(at))
            } else {
                let is_named = test.has(&self.owner) || test.has(&self.owner.to_lowercase());
                is_named && test.has(&format!("{call} )"))
            }
        } else {
            test.has(&format!("{} :: {} (", self.owner, self.name))
        }
    }
}

/// What is in parentheses.
fn list(tree: &TokenTree) -> Option<TokenStream> {
    match tree {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            Some(group.stream())
        }
        _ => None,
    }
}

/// An item's attributes, and the rest of it.
fn attributes(mut item: &[TokenTree]) -> (Vec<Tokens>, &[TokenTree]) {
    let mut found = Vec::new();
    while let [TokenTree::Punct(hash), rest @ ..] = item {
        if hash.as_char() != '#' {
            break;
        }
        // An attribute of the file has an exclamation mark.
        let group = rest
            .iter()
            .position(|tree| matches!(tree, TokenTree::Group(_)));
        let end = group.map_or(rest.len(), |at| at + 1);
        found.push(Tokens::of(&rest[..end]));
        item = &rest[end..];
    }
    (found, item)
}

/// The type that an `impl` is for: the last name before its own generics.
fn implemented(header: &Tokens) -> String {
    let tokens = header.as_slice();
    let begin = header.find("for").last().map_or(1, |at| at + 1);
    let mut depth = 0usize;
    let mut name = "";
    for token in tokens.iter().skip(begin) {
        if depth == 0 {
            if token == "where" || (token.contains('<') && !name.is_empty()) {
                break;
            }
            if token.starts_with(|c: char| c.is_alphabetic()) {
                name = token;
            }
        }
        if token != "->" {
            depth += token.matches('<').count();
            depth = depth.saturating_sub(token.matches('>').count());
        }
    }
    name.to_owned()
}

/// Each variant, and the first paragraph of what is said of it.
fn variants(stream: TokenStream) -> Vec<(String, String)> {
    let trees: Vec<_> = stream.into_iter().collect();
    let comma = |tree: &TokenTree| matches!(tree, TokenTree::Punct(p) if p.as_char() == ',');
    let variant = |item| {
        let (attributes, rest) = attributes(item);
        let docs = attributes.iter().filter(|doc| doc.has("doc ="));
        let lines: Vec<_> = docs
            .flat_map(Tokens::strings)
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();
        Some((rest.first()?.to_string(), lines.join(" ")))
    };
    trees.split(comma).filter_map(variant).collect()
}

#[cfg(test)]
mod tests {
    use super::{Function, Sources};

    const CODE: &str = r##"
        //! Words that are no code: fn nothing() { draft.options.a = 1; }
        #![allow(x)]
        use a::{b, c};
        pub struct Dump<'a>(pub(super) Draft<'a>);
        struct Draft<'a> { options: X }
        setters! { Dump, Restore => {
            /// Sets it.
            #[doc(alias = "a_a")]
            #[doc(alias = "a_b")]
            fn a(draft, on: bool) { draft.options.a = Some(on); }
            fn b(draft, key: &str) { draft.keep(key); }
        }}
        impl<'a> Draft<'a> {
            pub(super) fn keep(&mut self, key: &str) { self.options.b.push(key); }
        }
        impl<T: Into<Vec<u8>>> From<T> for proto::Mode<'_> where T: Copy {
            fn from(x: T) -> Self { Self::Full }
        }
        impl Dump<'_> {
            pub const fn new(x: &'a str) -> Self { let c = '{'; Self(x) }
            pub(crate) fn hidden(self) { self.deep() }
            fn deep(self) {}
            pub async fn run(self) { self.hidden().await }
        }
        /// Kinds.
        pub enum Kind {
            /// The first,
            /// of two.
            ///
            /// More.
            #[default]
            One,
            /// The second.
            Two { x: u8 },
        }
        const TABLE: [(u32, &str); 1] = [(1, "one")];
        fn free() {}
        #[cfg(test)]
        mod tests { fn hidden_too() { x.a(true); x.b(); Dump::new("x"); } }
    "##;

    fn sources() -> Sources {
        let mut sources = Sources::default();
        sources.add("src/x.rs", CODE).unwrap();
        sources
    }

    fn function<'s>(sources: &'s Sources, owner: &str, name: &str) -> &'s Function {
        sources
            .functions
            .iter()
            .find(|f| f.owner == owner && f.name == name)
            .unwrap_or_else(|| panic!("no {owner}::{name}"))
    }

    #[test]
    fn functions_are_found_with_what_they_are_of() {
        let sources = sources();
        let names: Vec<_> = sources
            .functions
            .iter()
            .map(|f| format!("{}::{}", f.owner, f.name))
            .collect();
        let expected = [
            "Dump::a",
            "Restore::a",
            "Dump::b",
            "Restore::b",
            "Draft::keep",
            "Mode::from",
            "Dump::new",
            "Dump::hidden",
            "Dump::deep",
            "Dump::run",
            "x::free",
        ];
        assert_eq!(names, expected);
        let a = function(&sources, "Restore", "a");
        assert!(a.is_public);
        assert_eq!(a.aliases, ["a_a", "a_b"]);
        assert!(function(&sources, "Dump", "new").is_public);
        assert!(!function(&sources, "Dump", "hidden").is_public);
        assert!(!function(&sources, "Draft", "keep").is_public);
    }

    #[test]
    fn other_items_are_found() {
        let sources = sources();
        let kinds = [("One", "The first, of two."), ("Two", "The second.")];
        assert_eq!(
            sources.enums["Kind"],
            kinds.map(|(name, doc)| (name.to_owned(), doc.to_owned()))
        );
        assert!(sources.constants["TABLE"].has("( 1 , \"one\" )"));
        assert!(sources.requests.contains("Dump"));
    }

    #[test]
    fn calls_are_followed_within_the_type_and_into_the_draft() {
        let sources = sources();
        let writes = |f: &Function| f.body.writes("CriuOpts", "options", "b");
        let public: Vec<_> = sources.public(writes).iter().map(|f| &*f.owner).collect();
        assert_eq!(public, ["Dump", "Restore"]);
        let deep = sources.public(|f| f.name == "deep");
        assert_eq!(deep.iter().map(|f| &*f.name).collect::<Vec<_>>(), ["run"]);
    }

    #[test]
    fn tests_are_kept_apart_and_searched_for_calls() {
        let sources = sources();
        let test = &sources.tests["src/x.rs"];
        assert!(function(&sources, "Dump", "a").is_called_in(test));
        assert!(function(&sources, "Dump", "new").is_called_in(test));
        assert!(!function(&sources, "Dump", "b").is_called_in(test));
        assert!(!function(&sources, "Dump", "deep").is_called_in(test));
    }
}
