//! What CPU images need: written by one host, checked by another.

use std::fs;

use criu_rpc::{Cause, CpuCapability, CpuInfoCheck, CpuInfoDump, Ended, Error, Operation};
use criu_rs_tests::Scratch;

use crate::target::criu;

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn what_this_host_wrote_it_can_run() {
    let scratch = Scratch::new().unwrap();
    for capability in [
        CpuCapability::NONE,
        CpuCapability::FPU,
        CpuCapability::CPU,
        CpuCapability::INSTRUCTIONS,
        CpuCapability::FPU | CpuCapability::INSTRUCTIONS,
    ] {
        let dump = CpuInfoDump::new(scratch.path()).cpu_cap(capability);
        criu().run(dump).unwrap();
        assert!(fs::metadata(scratch.join("cpuinfo.img")).unwrap().len() > 0);
        let check = CpuInfoCheck::new(scratch.path()).cpu_cap(capability);
        criu().run(check).unwrap();
    }
}

#[test]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn without_an_image_there_is_nothing_to_check() {
    let scratch = Scratch::new().unwrap();
    let error = criu().run(CpuInfoCheck::new(scratch.path())).unwrap_err();
    let Error::Failed(failure) = &error else {
        panic!("another kind of error: {error:?}");
    };
    assert_eq!(failure.operation, Operation::CpuInfoCheck);
    // It checks in a child.
    assert_eq!(failure.ended, Ended::Exited(0));
    assert_eq!(failure.log.as_deref(), Some("cpuinfo-check.log"));
    assert!(failure.line().is_some(), "{failure:?}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

#[test]
#[cfg(target_arch = "x86_64")]
#[ignore = "needs root and CRIU: cargo xtask test"]
fn an_image_of_another_cpu_is_refused() {
    let scratch = Scratch::new().unwrap();
    criu().run(CpuInfoDump::new(scratch.path())).unwrap();
    let path = scratch.join("cpuinfo.img");
    let mut image = fs::read(&path).unwrap();
    // The last field, 10, is the size of the registers, xsave_size_max: some thousands.
    let [.., 0x50, low, _high] = image.as_mut_slice() else {
        panic!("another image: {image:02x?}");
    };
    *low ^= 0x40;
    fs::write(&path, image).unwrap();

    let check = |capability| CpuInfoCheck::new(scratch.path()).cpu_cap(capability);
    let both = CpuCapability::FPU | CpuCapability::INSTRUCTIONS;
    let error = criu().run(check(both)).unwrap_err();
    let Error::Failed(failure) = &error else {
        panic!("another kind of error: {error:?}");
    };
    assert_eq!(failure.operation, Operation::CpuInfoCheck);
    let line = failure.line().unwrap();
    assert!(line.contains("xsave"), "{line}");
    assert_eq!(failure.cause, Some(Cause::OtherCpu));
    assert_eq!(error.to_string().lines().count(), 1);

    // What the tree does not use does not matter.
    criu().run(check(CpuCapability::INSTRUCTIONS)).unwrap();
    criu().run(check(CpuCapability::NONE)).unwrap();
}
