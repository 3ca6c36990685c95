//! A dump of this process, and how it tells before from after.

use super::settle::look_over;
use super::wait::Wait;
use super::{END, Session, Which, begin};
use crate::error::Error;
use crate::program::Program;
use crate::reply::SelfDumped;
use crate::request::SelfDump;

/// Runs a self-dump: returns once here, and again in each process that is restored from
/// the images.
pub(super) async fn run(
    criu: &Program,
    dump: SelfDump<'_>,
    wait: &impl Wait,
) -> Result<SelfDumped, Error> {
    let mut prepared = dump.prepare()?;
    look_over(criu, &prepared, wait).await?;
    let connection = begin(criu, &mut prepared, Which::Apart, wait).await?;
    let (mut connection, outcome) = Session::new(connection, prepared)?.keep(wait).await?;
    // CRIU gives a restored process a new socket, with this answer in it (sk-unix.c).
    if outcome.response.dump.is_some_and(|dump| dump.restored()) {
        // CRIU and its pid are of another time: there is nothing to wait for.
        drop(connection);
        Ok(SelfDumped::Restored)
    } else {
        connection.end(END, wait).await;
        Ok(SelfDumped::Running)
    }
}
