//! Registers of aarch64: `struct user_pt_regs` and `struct user_fpsimd_state`.

use super::notes::Notes;
use crate::proto::CoreEntry;

const NT_FPREGSET: u32 = 2;
const NT_ARM_TLS: u32 = 0x401;

/// x0 to x30, sp, pc, pstate.
pub(super) fn registers(core: &CoreEntry) -> Vec<u64> {
    let mut out = Vec::with_capacity(34);
    if let Some(info) = &core.ti_aarch64 {
        out.extend(info.gpregs.regs.iter().take(31));
        out.resize(31, 0);
        out.extend([info.gpregs.sp, info.gpregs.pc, info.gpregs.pstate]);
    }
    out.resize(34, 0);
    out
}

pub(super) fn more(core: &CoreEntry, notes: &mut Notes) {
    let Some(info) = &core.ti_aarch64 else {
        return;
    };
    let vectors = info.fpsimd.vregs.iter().take(64);
    let mut note: Vec<u8> = vectors.flat_map(|word| word.to_le_bytes()).collect();
    note.resize(512, 0);
    note.extend(info.fpsimd.fpsr.to_le_bytes());
    note.extend(info.fpsimd.fpcr.to_le_bytes());
    note.resize(528, 0);
    notes.core(NT_FPREGSET, &note);
    notes.linux(NT_ARM_TLS, &info.tls.to_le_bytes());
}
