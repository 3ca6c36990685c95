//! The processes of a checkpoint, read from its images. Needs neither root nor CRIU.
//!
//! `cargo run --example image_ps FOLDER|ARCHIVE`

use criu_images::source::{Archive, Folder, Source};
use criu_images::{Entry, Kind, Name, Pagemap, Result, proto};

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let images: Box<dyn Source> = match std::path::Path::new(&path).is_dir() {
        true => Box::new(Folder::open(&path)?),
        false => Box::new(Archive::file(&path)),
    };
    println!(
        "{:>7} {:>7} {:>7} {:>8}  COMMAND",
        "PID", "PPID", "THREADS", "PAGES"
    );
    let Some(tree) = images.image(Name::single(Kind::Pstree).expect("a name"))? else {
        return Ok(());
    };
    for process in tree.entries::<proto::PstreeEntry>() {
        let process = process?;
        let core: Option<proto::CoreEntry> = first(&*images, Kind::Core, process.pid)?;
        let comm = core.and_then(|core| core.tc).map(|task| task.comm);
        let pages: u64 = match open(&*images, Kind::Pagemap, process.pid)? {
            Some(image) => Pagemap::new(image)?
                .map(|run| Ok(run?.pages))
                .sum::<Result<_>>()?,
            None => 0,
        };
        let (pid, parent, threads) = (process.pid, process.ppid, process.threads.len());
        let comm = String::from_utf8_lossy(comm.as_deref().unwrap_or(b"?")).into_owned();
        println!("{pid:>7} {parent:>7} {threads:>7} {pages:>8}  {comm}");
    }
    Ok(())
}

type Image<'a> = criu_images::Image<criu_images::source::File<'a>>;

fn open(images: &dyn Source, kind: Kind, pid: u32) -> Result<Option<Image<'_>>> {
    images.image(Name::numbered(kind, pid.into()).expect("a kind with a number"))
}

fn first<T: Entry>(images: &dyn Source, kind: Kind, pid: u32) -> Result<Option<T>> {
    open(images, kind, pid)?
        .and_then(|image| image.entries().next())
        .transpose()
}
