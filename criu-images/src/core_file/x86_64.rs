//! Registers of x86-64: `struct user_regs_struct`, and the areas of FXSAVE and XSAVE.

use super::notes::Notes;
use crate::proto::{CoreEntry, UserX86FpregsEntry, UserX86XsaveEntry};

const NT_FPREGSET: u32 = 2;
const NT_X86_XSTATE: u32 = 0x202;

/// In the order of `struct user_regs_struct`.
pub(super) fn registers(core: &CoreEntry) -> Vec<u64> {
    let Some(info) = &core.thread_info else {
        return vec![0; 27];
    };
    let r = &info.gpregs;
    vec![
        r.r15, r.r14, r.r13, r.r12, r.bp, r.bx, r.r11, r.r10, r.r9, r.r8, r.ax, r.cx, r.dx, r.si,
        r.di, r.orig_ax, r.ip, r.cs, r.flags, r.sp, r.ss, r.fs_base, r.gs_base, r.ds, r.es, r.fs,
        r.gs,
    ]
}

pub(super) fn more(core: &CoreEntry, notes: &mut Notes) {
    let Some(info) = &core.thread_info else {
        return;
    };
    let legacy = legacy(&info.fpregs);
    notes.core(NT_FPREGSET, &legacy);
    if let Some(xsave) = &info.fpregs.xsave {
        notes.linux(NT_X86_XSTATE, &extended(legacy, xsave));
    }
}

/// The 512 bytes of FXSAVE.
fn legacy(fp: &UserX86FpregsEntry) -> Vec<u8> {
    let mut out = Vec::with_capacity(LEGACY);
    for half in [fp.cwd, fp.swd, fp.twd, fp.fop] {
        out.extend(&half.to_le_bytes()[..2]);
    }
    for word in [fp.rip, fp.rdp] {
        out.extend(word.to_le_bytes());
    }
    for word in [fp.mxcsr, fp.mxcsr_mask] {
        out.extend(word.to_le_bytes());
    }
    words(&mut out, &fp.st_space, ST);
    words(&mut out, &fp.xmm_space, XMM);
    out.resize(LEGACY, 0);
    out
}

const ST: usize = 32 + 128;
const XMM: usize = ST + 256;
const LEGACY: usize = 512;
/// Where a debugger looks for the components that there are.
const XCR0: usize = 464;
const COMPONENTS: usize = LEGACY + 64;

/// The uncompacted area of XSAVE, its components where Intel has them: the layout that
/// debuggers take for one of this size.
fn extended(mut out: Vec<u8>, xsave: &UserX86XsaveEntry) -> Vec<u8> {
    let mut there = 0b11u64;
    out.extend(xsave.xstate_bv.to_le_bytes());
    out.resize(COMPONENTS, 0);
    let long = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let wide = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    for (bit, at, size, content) in [
        (2, 576, 256, long(&xsave.ymmh_space)),
        (3, 960, 64, wide(&xsave.bndreg_state)),
        (4, 1024, 64, wide(&xsave.bndcsr_state)),
        (5, 1088, 64, wide(&xsave.opmask_reg)),
        (6, 1152, 512, wide(&xsave.zmm_upper)),
        (7, 1664, 1024, wide(&xsave.hi16_zmm)),
        (9, 2688, 8, long(&xsave.pkru)),
    ] {
        // A component that was in its initial state is zeros, which that is.
        if !content.is_empty() {
            there |= 1 << bit;
            out.resize(at, 0);
            out.extend(&content[..content.len().min(size)]);
            out.resize(at + size, 0);
        }
    }
    out[XCR0..XCR0 + 8].copy_from_slice(&there.to_le_bytes());
    let state = xsave.xstate_bv & there;
    out[LEGACY..LEGACY + 8].copy_from_slice(&state.to_le_bytes());
    out
}

/// Appends words up to the length `end`, whatever their count.
fn words(out: &mut Vec<u8>, words: &[u32], end: usize) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    out.resize(end, 0);
}
