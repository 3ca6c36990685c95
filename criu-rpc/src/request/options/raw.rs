//! Options that this crate does not know.

use prost::encoding::{WireType, encode_key, encode_varint};

use crate::request::setters::setters;
use crate::request::{CpuInfoCheck, CpuInfoDump, Dump, PageServer, PreDump, Restore, SelfDump};

/// The value of an option newer than this crate, as the wire has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RawOption {
    /// A bool, an enum or an integer.
    Number(u64),
    /// A string, or a message already encoded.
    Bytes(Vec<u8>),
}

impl RawOption {
    fn encode(&self, field: u32, into: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                encode_key(field, WireType::Varint, into);
                encode_varint(*number, into);
            }
            Self::Bytes(bytes) => {
                encode_key(field, WireType::LengthDelimited, into);
                encode_varint(bytes.len() as u64, into);
                into.extend(bytes);
            }
        }
    }
}

setters! { Dump, SelfDump, PreDump, Restore, PageServer, CpuInfoDump, CpuInfoCheck => {
    /// Sets an option by its number in `criu_opts`. CRIU ignores one that it does not know,
    /// without a word, and so does this crate: nothing is checked.
    fn raw_option(draft, field: u32, value: RawOption) {
        if (1..1 << 29).contains(&field) {
            value.encode(field, &mut draft.raw);
        } else {
            draft.refuse("raw_option", field, "a field number is from 1 to 536870911");
        }
    }

    /// More options, from a file that CRIU reads after all others, which it overrides.
    /// CRIU 3.11.
    fn config_file(draft, path: impl Into<String>) {
        draft.options.config_file = Some(path.into());
    }
}}
