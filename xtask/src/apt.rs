//! An apt of our own beside the system's: it shares the keyring and the
//! machine's way to the network, and changes nothing outside its folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::process;
use crate::sources::Archive;

const NO_APT: &str = "install apt and dpkg, or install CRIU 4.1 or newer and set CRIU to its path";

/// apt with one suite of one archive as its world.
pub(crate) struct PrivateApt {
    folder: PathBuf,
    suite: String,
    advice: String,
}

impl PrivateApt {
    /// Sets up in `folder`, which is absolute and ours alone.
    pub(crate) fn create(folder: &Path, archive: &Archive, suite: &str) -> Result<Self, Failure> {
        let apt = Self {
            folder: folder.to_owned(),
            suite: suite.to_owned(),
            advice: format!(
                "see that the network is up and that `apt-get update` works with {}",
                archive.file.display()
            ),
        };
        for part in ["lists/partial", "cache/archives/partial", "packages"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).map_err(|e| Failure::file("create", &path, &e))?;
        }
        let conf = apt.folder.join("apt.conf");
        let settings = apt.settings();
        fs::write(&conf, settings).map_err(|e| Failure::file("write", &conf, &e))?;
        let source = apt.folder.join("archive.sources");
        fs::write(&source, archive.source(suite, &architecture()?))
            .map_err(|e| Failure::file("write", &source, &e))?;
        Ok(apt)
    }

    /// The machine's own settings (proxies, for one) hold but for these.
    fn settings(&self) -> String {
        let folder = self.folder.display();
        format!(
            "// The system's hooks tidy the system's folders.\n\
             #clear APT::Update::Pre-Invoke;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             APT::Update::Error-Mode \"any\";\n\
             // Our folder may be closed to apt's own user.\n\
             APT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Dir::State::Lists \"{folder}/lists\";\n\
             Dir::State::status \"/dev/null\";\n\
             Dir::Cache \"{folder}/cache\";\n\
             Dir::Etc::SourceList \"{folder}/archive.sources\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\n\
             Dir::Etc::Preferences \"/dev/null\";\n\
             Dir::Etc::PreferencesParts \"/dev/null\";\n"
        )
    }

    /// Fetches the suite's index.
    pub(crate) fn update(&self) -> Result<(), Failure> {
        process::capture(self.tool("apt-get").args(["-qq", "update"]), &self.advice)?;
        Ok(())
    }

    /// A package and every library below it, but for some and what only those need.
    pub(crate) fn with_libraries(
        &self,
        package: &str,
        without: &[&str],
    ) -> Result<Vec<String>, Failure> {
        let mut query = self.tool("apt-cache");
        query.args([
            "depends",
            "--recurse",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
        ]);
        query.args(["--no-breaks", "--no-replaces", "--no-enhances", package]);
        let listing =
            process::capture(&mut query, &format!("look for {package} in {}", self.suite))?;
        Ok(libraries(&listing, package, without))
    }

    /// The package that another needs whose name begins so, such as the newest of a kind.
    pub(crate) fn dependency(&self, package: &str, start: &str) -> Result<String, Failure> {
        let mut query = self.tool("apt-cache");
        query.args(["depends", package]);
        let advice = format!("look for {package} in {}", self.suite);
        let listing = process::capture(&mut query, &advice)?;
        listing
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(start))
            .map(str::to_owned)
            .ok_or_else(|| Failure::step(format!("{package} needs no {start}*: {advice}")))
    }

    /// Unpacks packages into a prefix, without running anything of theirs.
    pub(crate) fn unpack(&self, names: &[String], prefix: &Path) -> Result<(), Failure> {
        let packages = self.folder.join("packages");
        let mut download = self.tool("apt-get");
        download
            .args(["-qq", "download"])
            .args(names)
            .current_dir(&packages);
        process::capture(&mut download, &self.advice)?;
        let entries = fs::read_dir(&packages).map_err(|e| Failure::file("list", &packages, &e))?;
        let mut unpacked = 0;
        for entry in entries {
            let package = entry
                .map_err(|e| Failure::file("list", &packages, &e))?
                .path();
            let mut dpkg = Command::new("dpkg");
            dpkg.arg("--extract").arg(&package).arg(prefix);
            process::capture(&mut dpkg, "see that the disk has 200 MB free")?;
            unpacked += 1;
        }
        if unpacked == names.len() {
            return Ok(());
        }
        Err(Failure::step(format!(
            "apt-get downloaded {unpacked} of {} packages: {}",
            names.len(),
            self.advice
        )))
    }

    fn tool(&self, name: &str) -> Command {
        let mut tool = Command::new(name);
        tool.arg("-c")
            .arg(self.folder.join("apt.conf"))
            .env("LC_ALL", "C");
        tool
    }
}

/// The machine's architecture in Debian's words.
pub(crate) fn architecture() -> Result<String, Failure> {
    let answer = process::capture(Command::new("dpkg").arg("--print-architecture"), NO_APT)?;
    Ok(answer.trim().to_owned())
}

/// Says what is missing before anything is fetched.
pub(crate) fn require() -> Result<(), Failure> {
    for tool in ["apt-get", "apt-cache", "dpkg"] {
        if process::find_in_path(tool).is_none() {
            return Err(Failure::step(format!(
                "there is no `{tool}` here: {NO_APT}"
            )));
        }
    }
    Ok(())
}

/// Walks apt-cache's listing from a package through libraries alone: what
/// only a program among the dependencies needs is left out. One library has a name that
/// does not say so.
///
/// A package stands at the start of a line, below it what it depends on; a
/// virtual package is in angle brackets, and a foreign architecture's twin is
/// `name:arch`.
fn libraries(listing: &str, package: &str, without: &[&str]) -> Vec<String> {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in listing.lines() {
        if !line.starts_with(' ') {
            current = line;
            needs.entry(current).or_default();
        } else if let Some((_, name)) = line.split_once("Depends: ") {
            needs.entry(current).or_default().push(name);
        }
    }
    let mut kept = BTreeSet::new();
    let mut open = vec![package];
    while let Some(name) = open.pop() {
        if let Some(below) = needs.get(name).filter(|_| kept.insert(name.to_owned())) {
            open.extend(below.iter().filter(|n| {
                (n.starts_with("lib") || **n == "zlib1g")
                    && !n.contains(':')
                    && !without.contains(n)
            }));
        }
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::libraries;

    #[test]
    fn libraries_of_a_listing() {
        let listing = "\
criu
  PreDepends: libnet9
  Depends: zlib1g
  Depends: python3
 |Depends: libalternative
  Depends: <libvirtual>
    libprovider
  Depends: libc6:i386
libnet9
  Depends: libc6
libc6
  Depends: libgcc-s1
libgcc-s1
  Depends: libc6
  Depends: gcc-16-base
python3
  Depends: libpython3-stdlib
libpython3-stdlib
zlib1g
<libvirtual>
libprovider
libalternative
libc6:i386
";
        assert_eq!(
            libraries(listing, "criu", &[]),
            [
                "criu",
                "libalternative",
                "libc6",
                "libgcc-s1",
                "libnet9",
                "zlib1g"
            ]
        );
        assert_eq!(
            libraries(listing, "criu", &["libnet9", "zlib1g"]),
            ["criu", "libalternative"]
        );
    }
}
