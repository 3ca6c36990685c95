//! Which CRIU is here, and what it can do on this kernel. Needs root.

use criu_rpc::{Criu, Error};

fn main() -> Result<(), Error> {
    let criu = Criu::find()?;
    println!("{} is CRIU {}", criu.path().display(), criu.version()?);

    let features = criu.features()?;
    println!("pre-dump (tracks changed pages): {}", features.mem_track);
    println!("lazy restore (userfaultfd):      {}", features.lazy_pages);
    println!("safe from reused pids:           {}", features.pidfd_store);

    match criu.check() {
        Ok(()) => println!("it works on this kernel"),
        Err(error) => println!("it does not work here: {error}"),
    }
    Ok(())
}
