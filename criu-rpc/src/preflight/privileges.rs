//! What CRIU will be allowed to do, started from here.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::process::{Capabilities, Status};

/// The numbers of `linux/capability.h`.
pub(super) const CAP_SYS_PTRACE: u8 = 19;
pub(super) const CAP_SYS_ADMIN: u8 = 21;
pub(super) const CAP_SYS_RESOURCE: u8 = 24;
pub(super) const CAP_CHECKPOINT_RESTORE: u8 = 40;

/// The most that CRIU can have. What is not in it, CRIU certainly lacks.
///
/// What counts is what CRIU has after its start, not what we have: the rules are those of
/// `capabilities(7)`, "Transformation of capabilities during `execve()`".
#[derive(Debug)]
pub(super) struct Privileges {
    at_most: Capabilities,
    keeps_user: bool,
}

impl Privileges {
    pub(super) fn of(caller: &Status, program: &Path) -> Self {
        // Root stays root, whatever the program; of another user's there are wrappers with
        // sudo, and programs with privileges of their own.
        let keeps_user = caller.uid.effective == 0 || caller.no_new_privileges || is_plain(program);
        Self::with(caller, keeps_user)
    }

    /// `keeps_user`: it is certain that CRIU runs as the user we are.
    fn with(caller: &Status, keeps_user: bool) -> Self {
        let (inheritable, permitted) = (caller.inheritable.0, caller.permitted.0);
        let (bounding, ambient) = (caller.bounding.0, caller.ambient.0);
        let anything = inheritable | bounding | ambient;
        let at_most = match (caller.uid.effective, caller.no_new_privileges) {
            (0, false) => anything,
            (0, true) => anything & permitted,
            _ if keeps_user => ambient,
            _ => anything,
        };
        Self {
            at_most: Capabilities(at_most),
            keeps_user,
        }
    }

    /// Whether CRIU can have a capability, as far as is known.
    pub(super) fn may_have(&self, capability: u8) -> bool {
        self.at_most.0 >> capability & 1 != 0
    }

    /// Whether it is certain that CRIU runs as the user we are.
    pub(super) fn keeps_user(&self) -> bool {
        self.keeps_user
    }
}

/// Whether a program gets no more than its caller can give: it is no script, which can start
/// anything, has no set-id bit and no capabilities of its own.
fn is_plain(program: &Path) -> bool {
    const SET_ID: u32 = 0o6000;
    let look = || -> std::io::Result<bool> {
        let mut file = File::open(program)?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic)?;
        let mut nothing = [0_u8; 0];
        let capabilities = rustix::fs::fgetxattr(&file, "security.capability", &mut nothing);
        let has_capabilities = match capabilities {
            Ok(_) => true,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => false,
            Err(errno) => return Err(errno.into()),
        };
        Ok(magic == *b"\x7fELF" && file.metadata()?.mode() & SET_ID == 0 && !has_capabilities)
    };
    look().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::{
        CAP_CHECKPOINT_RESTORE, CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYS_RESOURCE, Privileges,
        is_plain,
    };
    use crate::preflight::process::Status;

    const NOBODY: &str = "Uid:\t65534\t65534\t65534\t65534";

    fn privileges(lines: &[&str], keeps_user: bool) -> Privileges {
        Privileges::with(&Status::recorded_but(lines), keeps_user)
    }

    #[test]
    fn root_gets_what_it_is_not_barred_from_even_what_it_gave_up() {
        let root = privileges(
            &["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"],
            true,
        );
        assert!(root.may_have(CAP_SYS_ADMIN) && root.may_have(CAP_CHECKPOINT_RESTORE));
        assert!(!root.may_have(CAP_SYS_RESOURCE));

        let root = privileges(&["CapBnd:\t0000000000000000"], true);
        assert!(!root.may_have(CAP_SYS_ADMIN));
        let root = privileges(&["NoNewPrivs:\t1", "CapPrm:\t0000000000080000"], true);
        assert!(root.may_have(CAP_SYS_PTRACE) && !root.may_have(CAP_SYS_ADMIN));
    }

    #[test]
    fn another_user_gets_what_is_ambient_unless_the_program_brings_more() {
        let nobody = privileges(&[NOBODY], true);
        assert!(!nobody.may_have(CAP_CHECKPOINT_RESTORE));
        let nobody = privileges(&[NOBODY, "CapAmb:\t0000010000000000"], true);
        assert!(nobody.may_have(CAP_CHECKPOINT_RESTORE) && !nobody.may_have(CAP_SYS_ADMIN));
        let nobody = privileges(&[NOBODY], false);
        assert!(nobody.may_have(CAP_CHECKPOINT_RESTORE) && !nobody.may_have(CAP_SYS_RESOURCE));
    }

    #[test]
    fn who_criu_will_be_is_not_known_when_the_program_can_change_it() {
        let nobody = Status::recorded_but(&[NOBODY]);
        let program = std::env::current_exe().unwrap();
        assert!(Privileges::of(&nobody, &program).keeps_user());
        assert!(!Privileges::of(&nobody, Path::new("/nonexistent")).keeps_user());
        let bound = Status::recorded_but(&[NOBODY, "NoNewPrivs:\t1"]);
        assert!(Privileges::of(&bound, Path::new("/nonexistent")).keeps_user());
        assert!(Privileges::of(&Status::recorded(), Path::new("/nonexistent")).keeps_user());
    }

    #[test]
    fn a_script_and_a_program_with_a_set_id_bit_are_not_plain() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::copy("/proc/self/exe", &program).unwrap();
        assert!(is_plain(&program));
        for set_id in [0o4755, 0o2755] {
            fs::set_permissions(&program, Permissions::from_mode(set_id)).unwrap();
            assert!(!is_plain(&program));
        }
        let script = folder.path().join("script");
        fs::write(&script, "#!/bin/sh\nexec sudo criu \"$@\"\n").unwrap();
        assert!(!is_plain(&script));
    }
}
