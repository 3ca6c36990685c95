//! Which mirror of Debian this machine's own apt uses.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Debian's main archive, as one entry of the machine's sources names it.
#[derive(Debug, PartialEq)]
pub(crate) struct Archive {
    pub(crate) uri: String,
    /// The entry's keyring: a path, fingerprints, or a whole key with its
    /// continuation lines.
    pub(crate) signed_by: Option<String>,
    /// Where the entry stands, for messages.
    pub(crate) file: PathBuf,
}

/// What entries of the running release may call it.
const ALIASES: [&str; 5] = ["stable", "testing", "unstable", "sid", "oldstable"];

/// Where Debian installs its keyring.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

impl Archive {
    /// Finds the entry that carries the running release's `main`.
    pub(crate) fn of_this_machine() -> Result<Self, Failure> {
        let elsewhere = "install CRIU 4.1 or newer yourself and set CRIU to its path";
        let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let codename = debian_codename(&os_release).ok_or_else(|| {
            Failure::step(format!(
                "only Debian's packages can be unpacked here, and this is not Debian: {elsewhere}"
            ))
        })?;
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        let mut more: Vec<_> = fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        more.sort();
        files.append(&mut more);
        let mut found = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            match file.extension().and_then(|e| e.to_str()) {
                Some("list") => found.extend(one_line(&text, &file, &codename)),
                Some("sources") => found.extend(deb822(&text, &file, &codename)),
                _ => {}
            }
        }
        let mut best = best(found).ok_or_else(|| {
            Failure::step(format!(
                "no entry in /etc/apt names Debian's archive with {codename} main: add one, or {elsewhere}"
            ))
        })?;
        if best.signed_by.is_none() {
            best.signed_by = KEYRINGS
                .iter()
                .find(|path| Path::new(path).exists())
                .map(|&path| path.to_owned());
        }
        Ok(best)
    }

    /// A deb822 source of another suite of the same archive.
    pub(crate) fn source(&self, suite: &str, arch: &str) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\nArchitectures: {arch}\nTargets: Packages\n",
            self.uri
        );
        if let Some(keys) = &self.signed_by {
            text.push_str("Signed-By: ");
            text.push_str(keys);
            text.push('\n');
        }
        text
    }

    /// How much an entry looks like Debian's own rather than a third party's
    /// that uses Debian's suite names.
    fn rank(&self) -> (bool, bool) {
        let keys = self.signed_by.as_deref();
        (
            keys.is_none_or(|keys| keys.contains("debian-archive")),
            self.uri.trim_end_matches('/').ends_with("/debian"),
        )
    }
}

/// The first of the best entries.
fn best(found: Vec<Archive>) -> Option<Archive> {
    found.into_iter().rev().max_by_key(Archive::rank)
}

fn debian_codename(os_release: &str) -> Option<String> {
    let value = |key: &str| {
        let line = os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned())
    };
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME"))?
}

fn carries_main<'a>(
    mut suites: impl Iterator<Item = &'a str>,
    mut components: impl Iterator<Item = &'a str>,
    codename: &str,
) -> bool {
    suites.any(|suite| suite == codename || ALIASES.contains(&suite))
        && components.any(|component| component == "main")
}

/// The `.list` format: `deb [ name=value … ] uri suite component…`
fn one_line(text: &str, file: &Path, codename: &str) -> Vec<Archive> {
    let entry = |line: &str| {
        let line = line.split('#').next()?;
        let rest = line.trim().strip_prefix("deb")?;
        let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?;
        let suite = words.next()?;
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(|keys| keys.replace(',', " "));
        carries_main([suite].into_iter(), words, codename).then(|| Archive {
            uri: uri.to_owned(),
            signed_by,
            file: file.to_owned(),
        })
    };
    text.lines().filter_map(entry).collect()
}

/// The `.sources` format: stanzas of fields.
fn deb822(text: &str, file: &Path, codename: &str) -> Vec<Archive> {
    let mut found = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for line in lines.chain([""]) {
        if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        } else {
            found.extend(stanza(&fields, file, codename));
            fields.clear();
        }
    }
    found
}

fn stanza(fields: &[(String, String)], file: &Path, codename: &str) -> Option<Archive> {
    let field = |wanted: &str| {
        fields
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let words = |wanted: &str| field(wanted).unwrap_or_default().split_whitespace();
    let enabled = !matches!(
        field("enabled"),
        Some("no" | "false" | "0" | "off" | "without")
    );
    if !enabled || !words("types").any(|kind| kind == "deb") {
        return None;
    }
    carries_main(words("suites"), words("components"), codename).then_some(())?;
    Some(Archive {
        uri: words("uris").next()?.to_owned(),
        signed_by: field("signed-by").map(str::to_owned),
        file: file.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Archive, best, deb822, debian_codename, one_line};
    use std::path::Path;

    fn chosen(found: Vec<Archive>) -> Option<(String, Option<String>)> {
        best(found).map(|archive| (archive.uri, archive.signed_by))
    }

    fn list(text: &str) -> Option<(String, Option<String>)> {
        chosen(one_line(text, Path::new("x.list"), "bookworm"))
    }

    fn sources(text: &str) -> Option<(String, Option<String>)> {
        chosen(deb822(text, Path::new("x.sources"), "bookworm"))
    }

    #[test]
    fn one_line_entries() {
        let text = "\
            # deb http://old.example/debian bookworm main\n\
            deb-src http://src.example/debian bookworm main\n\
            deb http://security.example/debian-security bookworm-security main\n\
            deb http://extra.example/debian bookworm contrib\n\
            deb [ arch=amd64 signed-by=/k/a.gpg,/k/debian-archive.gpg ] http://m.example/debian bookworm contrib main # ours\n";
        assert_eq!(
            list(text),
            Some((
                "http://m.example/debian".into(),
                Some("/k/a.gpg /k/debian-archive.gpg".into())
            ))
        );
    }

    #[test]
    fn one_line_without_options() {
        assert_eq!(
            list("deb\thttp://m.example/debian/ stable main"),
            Some(("http://m.example/debian/".into(), None))
        );
        assert_eq!(list("deb http://m.example/debian trixie main"), None);
        assert_eq!(list("deb http://m.example/flat ./"), None);
        assert_eq!(
            list("deb [ broken http://m.example/debian bookworm main"),
            None
        );
        assert_eq!(list("debug http://m.example/debian bookworm main"), None);
    }

    #[test]
    fn deb822_stanzas() {
        let text = "\
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://m.example/debian-security
Suites: bookworm-security
Components: main

types: deb-src deb
# a comment inside
uris: http://m.example/debian
  http://second.example/debian
suites: bookworm bookworm-updates
components: main contrib
signed-by: /usr/share/keyrings/debian-archive-keyring.gpg";
        assert_eq!(
            sources(text),
            Some((
                "http://m.example/debian".into(),
                Some("/usr/share/keyrings/debian-archive-keyring.gpg".into())
            ))
        );
    }

    #[test]
    fn a_key_inside_the_entry_is_carried_over_whole() {
        let text = "Types: deb\nURIs: http://m.example/debian\nSuites: sid\nComponents: main\n\
                    Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ\n";
        let archive = deb822(text, Path::new("x"), "forky").remove(0);
        assert!(
            archive
                .source("trixie", "amd64")
                .contains("Suites: trixie\n")
        );
        assert!(
            archive
                .source("trixie", "amd64")
                .ends_with("Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ\n")
        );
    }

    #[test]
    fn third_parties_with_debian_suite_names_come_last() {
        let text = "deb [signed-by=/k/vendor.gpg] http://v.example/stable/debian bookworm main\n\
                    deb http://tools.example/apt bookworm main\n\
                    deb http://m.example/debian bookworm main\n";
        assert_eq!(list(text), Some(("http://m.example/debian".into(), None)));
    }

    #[test]
    fn only_debian_is_debian() {
        let debian = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(debian_codename(debian).as_deref(), Some("bookworm"));
        let other = "ID=other\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
        assert_eq!(debian_codename(other), None);
    }
}
