//! The magic numbers at the start of a file.

use crate::error::Defect;
use crate::kind::Kind;

/// Before every magic of a kind since CRIU 1.6, `IMG_COMMON_MAGIC`.
const COMMON: u32 = 0x5456_4319;
/// In files of the working folder instead, `IMG_SERVICE_MAGIC`.
const SERVICE: u32 = 0x5510_5940;

/// Order of the bytes in lengths and magic numbers: that of the machine dumped on.
///
/// Only s390x writes big endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteOrder {
    /// Least byte first.
    #[default]
    Little,
    /// Greatest byte first.
    Big,
}

impl ByteOrder {
    pub(crate) fn get(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(crate) fn put(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    pub(crate) fn get16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(crate) fn put16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

/// Version of the image format, `inventory_entry.img_version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// 1: one magic number a file.
    V1,
    /// 2, called 1.1: a common magic number comes first. CRIU has written nothing else
    /// since release 1.6.
    #[default]
    V1_1,
}

/// What the start of a file says, beside its kind.
///
/// `inventory.img` has one magic number in both versions; it is told as [`Version::V1_1`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Version of the format.
    pub version: Version,
    /// Byte order of the machine dumped on.
    pub order: ByteOrder,
}

impl Header {
    /// The bytes a file of this kind begins with; none if it is raw.
    pub(crate) fn encode(self, kind: Kind) -> Vec<u8> {
        let mut out = Vec::with_capacity(8);
        let Some(magic) = kind.magic() else {
            return out;
        };
        if self.version == Version::V1_1 && kind != Kind::Inventory {
            let first = if kind.is_service() { SERVICE } else { COMMON };
            out.extend(self.order.put(first));
        }
        out.extend(self.order.put(magic));
        out
    }
}

/// What the first bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// An image with a header.
    ///
    /// Of kinds that share a magic number, the first in CRIU's order, unless the name
    /// tells better.
    Image {
        /// Kind by name, or by magic.
        kind: Kind,
        /// Version and byte order.
        header: Header,
        /// Bytes of the header, 4 or 8.
        length: usize,
    },
    /// An image without a header; only the name tells.
    Raw(Kind),
    /// A header of an image of no kind known: a plugin's, or a newer CRIU's.
    Opaque {
        /// The magic after the common one.
        magic: u32,
        /// Version and byte order.
        header: Header,
    },
    /// Nothing is known about it.
    Unknown,
}

/// Tells what a file is by the kind its name has, if any, and its first 8 bytes (fewer
/// if it is shorter).
///
/// # Errors
/// [`Defect::WrongMagic`] if name and magic disagree, [`Defect::Truncated`] if the file
/// ends inside of its header.
pub fn identify(named: Option<Kind>, head: &[u8]) -> Result<Identity, Defect> {
    if let Some(kind) = named.filter(|kind| kind.is_raw()) {
        return Ok(Identity::Raw(kind));
    }
    let Some(first) = head.first_chunk::<4>() else {
        return match named {
            Some(_) => Err(truncated(4, head.len())),
            None => Ok(Identity::Unknown),
        };
    };
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let magic = order.get(*first);
        if magic == COMMON || magic == SERVICE {
            let Some(second) = head.get(4..).and_then(|rest| rest.first_chunk::<4>()) else {
                return Err(truncated(8, head.len()));
            };
            let header = Header {
                version: Version::V1_1,
                order,
            };
            let magic = order.get(*second);
            return match settle(named, magic)? {
                Some(kind)
                    if kind != Kind::Inventory
                        && kind.is_service() == (order.get(*first) == SERVICE) =>
                {
                    Ok(Identity::Image {
                        kind,
                        header,
                        length: 8,
                    })
                }
                _ => Ok(Identity::Opaque { magic, header }),
            };
        }
        if Kind::of_magic(magic).is_some()
            && let Some(kind) = settle(named, magic)?
        {
            let version = match kind {
                Kind::Inventory => Version::V1_1,
                _ => Version::V1,
            };
            return Ok(Identity::Image {
                kind,
                header: Header { version, order },
                length: 4,
            });
        }
    }
    match named {
        Some(named) => Err(Defect::WrongMagic {
            named,
            found: ByteOrder::Little.get(*first),
        }),
        None => Ok(Identity::Unknown),
    }
}

/// The kind of a magic, taking the name's word among those that share it.
fn settle(named: Option<Kind>, magic: u32) -> Result<Option<Kind>, Defect> {
    match named {
        Some(named) if named.magic() == Some(magic) => Ok(Some(named)),
        Some(named) => Err(Defect::WrongMagic {
            named,
            found: magic,
        }),
        None => Ok(Kind::of_magic(magic)),
    }
}

fn truncated(wanted: u64, found: usize) -> Defect {
    Defect::Truncated {
        what: crate::error::Part::Header,
        wanted,
        found: u64::try_from(found).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> impl Iterator<Item = Header> {
        [Version::V1, Version::V1_1]
            .into_iter()
            .flat_map(|version| {
                [ByteOrder::Little, ByteOrder::Big]
                    .into_iter()
                    .map(move |order| Header { version, order })
            })
    }

    #[test]
    fn every_header_is_told_by_name_and_by_magic() {
        for kind in Kind::all().filter(|kind| !kind.is_raw()) {
            for header in headers() {
                if kind == Kind::Inventory && header.version == Version::V1 {
                    continue;
                }
                let bytes = header.encode(kind);
                let length = bytes.len();
                let told = Identity::Image {
                    kind,
                    header,
                    length,
                };
                assert_eq!(identify(Some(kind), &bytes), Ok(told));
                match identify(None, &bytes) {
                    Ok(Identity::Image { kind: found, .. }) => {
                        assert_eq!(found.magic(), kind.magic());
                    }
                    other => panic!("{kind}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for kind in Kind::all().filter(|kind| !kind.is_raw()) {
            let good = Header::default().encode(kind);
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let told = identify(Some(kind), &bad);
                assert!(
                    matches!(told, Err(Defect::WrongMagic { .. })),
                    "{kind} bit {bit}: {told:?}"
                );
            }
        }
    }

    #[test]
    fn a_header_cut_short_is_truncated() {
        for kind in Kind::all().filter(|kind| !kind.is_raw()) {
            let bytes = Header::default().encode(kind);
            for cut in 0..bytes.len() {
                assert!(matches!(
                    identify(Some(kind), &bytes[..cut]),
                    Err(Defect::Truncated { .. })
                ));
            }
        }
    }

    #[test]
    fn unknown_magic_after_a_common_one_is_opaque() {
        let bytes = [&COMMON.to_le_bytes()[..], &0x1234_5678_u32.to_le_bytes()].concat();
        assert_eq!(
            identify(None, &bytes),
            Ok(Identity::Opaque {
                magic: 0x1234_5678,
                header: Header::default()
            })
        );
    }
}
