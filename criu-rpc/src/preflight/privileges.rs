//! What CRIU will be allowed to do, started from here.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::caller::Caller;

/// Those that CRIU may need for what is looked at.
pub(super) const NEEDED: [CapabilitySet; 4] = [
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_RESOURCE,
    CapabilitySet::CHECKPOINT_RESTORE,
];

/// The most of what is [`NEEDED`] that CRIU can have. What is not in it, CRIU certainly lacks.
///
/// What counts is what CRIU has after its start, not what we have: the rules are those of
/// `capabilities(7)`, "Transformation of capabilities during `execve()`".
#[derive(Debug)]
pub(super) struct Privileges {
    at_most: CapabilitySet,
    keeps_user: bool,
}

impl Privileges {
    pub(super) fn of(caller: &Caller, program: &Path) -> Self {
        // Root stays root, whatever the program; of another user's there are wrappers with
        // sudo, and programs with privileges of their own.
        let keeps_user = caller.effective_uid == 0 || caller.no_new_privileges || is_plain(program);
        Self::with(caller, keeps_user)
    }

    /// `keeps_user`: it is certain that CRIU runs as the user we are.
    fn with(caller: &Caller, keeps_user: bool) -> Self {
        let ambient = caller.ambient;
        let anything = caller.inheritable | caller.bounding | ambient;
        let at_most = match (caller.effective_uid, caller.no_new_privileges) {
            (0, false) => anything,
            (0, true) => anything & caller.permitted,
            _ if keeps_user => ambient,
            _ => anything,
        };
        Self {
            at_most,
            keeps_user,
        }
    }

    /// Whether CRIU can have a capability, as far as is known.
    pub(super) fn may_have(&self, capability: CapabilitySet) -> bool {
        self.at_most.contains(capability)
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

    use rustix::thread::CapabilitySet;

    use super::{Privileges, is_plain};
    use crate::preflight::caller::Caller;

    const PTRACE: CapabilitySet = CapabilitySet::SYS_PTRACE;
    const ADMIN: CapabilitySet = CapabilitySet::SYS_ADMIN;
    const RESOURCE: CapabilitySet = CapabilitySet::SYS_RESOURCE;
    const CHECKPOINT_RESTORE: CapabilitySet = CapabilitySet::CHECKPOINT_RESTORE;
    const NONE: CapabilitySet = CapabilitySet::empty();

    fn nobody() -> Caller {
        Caller {
            real_uid: 65534,
            effective_uid: 65534,
            ..Caller::recorded()
        }
    }

    #[test]
    fn root_gets_what_it_is_not_barred_from_even_what_it_gave_up() {
        let root = |caller| Privileges::with(&caller, true);
        let gave_up = root(Caller {
            permitted: NONE,
            ..Caller::recorded()
        });
        assert!(gave_up.may_have(ADMIN) && gave_up.may_have(CHECKPOINT_RESTORE));
        assert!(!gave_up.may_have(RESOURCE));

        let barred = root(Caller {
            bounding: NONE,
            ..Caller::recorded()
        });
        assert!(!barred.may_have(ADMIN));
        let bound = root(Caller {
            no_new_privileges: true,
            permitted: PTRACE,
            ..Caller::recorded()
        });
        assert!(bound.may_have(PTRACE) && !bound.may_have(ADMIN));
    }

    #[test]
    fn another_user_gets_what_is_ambient_unless_the_program_brings_more() {
        let plain = Privileges::with(&nobody(), true);
        assert!(!plain.may_have(CHECKPOINT_RESTORE));
        let lent = Caller {
            ambient: CHECKPOINT_RESTORE,
            ..nobody()
        };
        let lent = Privileges::with(&lent, true);
        assert!(lent.may_have(CHECKPOINT_RESTORE) && !lent.may_have(ADMIN));
        let unknown = Privileges::with(&nobody(), false);
        assert!(unknown.may_have(CHECKPOINT_RESTORE) && !unknown.may_have(RESOURCE));
    }

    #[test]
    fn who_criu_will_be_is_not_known_when_the_program_can_change_it() {
        let program = std::env::current_exe().unwrap();
        let nowhere = Path::new("/nonexistent");
        assert!(Privileges::of(&nobody(), &program).keeps_user());
        assert!(!Privileges::of(&nobody(), nowhere).keeps_user());
        let bound = Caller {
            no_new_privileges: true,
            ..nobody()
        };
        assert!(Privileges::of(&bound, nowhere).keeps_user());
        assert!(Privileges::of(&Caller::recorded(), nowhere).keeps_user());
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
