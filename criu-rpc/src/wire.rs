//! Messages to bytes and back. Pure: no socket, no clock.

use prost::encoding::{DecodeContext, WireType, decode_key, encode_key, encode_varint, skip_field};
use prost::{DecodeError, Message};

use crate::error::ProtocolError;
use crate::external::DumpExternal;
use crate::proto;

/// The largest answer that is read, in bytes.
///
/// CRIU's longest today is below 2 kB (it holds an error line of at most 1023 bytes); the
/// limit keeps a peer that is not CRIU from making us allocate.
pub(crate) const MAX_RESPONSE: usize = 1 << 20;

/// The field of `criu_req` that holds the options.
const OPTS: u32 = 2;

/// A request, with options already encoded that follow those it has.
pub(crate) fn encode(request: &proto::CriuReq, raw_options: &[u8]) -> Vec<u8> {
    let mut bytes = request.encode_to_vec();
    if !raw_options.is_empty() {
        // A message that comes twice is merged by its reader.
        encode_key(OPTS, WireType::LengthDelimited, &mut bytes);
        encode_varint(raw_options.len() as u64, &mut bytes);
        bytes.extend(raw_options);
    }
    bytes
}

/// The answer to a notification.
pub(crate) fn encode_ack(go_on: bool) -> Vec<u8> {
    let ack = proto::CriuReq {
        r#type: proto::CriuReqType::Notify.into(),
        notify_success: Some(go_on),
        ..Default::default()
    };
    ack.encode_to_vec()
}

/// The answer to `query-ext-files`.
pub(crate) fn encode_externals(externals: &[DumpExternal]) -> Vec<u8> {
    let ack = proto::CriuReq {
        r#type: proto::CriuReqType::Notify.into(),
        notify_success: Some(true),
        opts: Some(proto::CriuOpts {
            external: externals.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    ack.encode_to_vec()
}

/// Reads one answer.
///
/// # Errors
/// When the bytes are no `criu_resp`.
pub(crate) fn decode(datagram: &[u8]) -> Result<proto::CriuResp, ProtocolError> {
    let malformed = ProtocolError::Malformed {
        bytes: datagram.len(),
    };
    match (proto::CriuResp::decode(datagram), has_required(datagram)) {
        (Ok(response), Ok(true)) => Ok(response),
        _ => Err(malformed),
    }
}

/// Whether `type` (1) and `success` (2) are there. prost takes an absent required field
/// for a zero, which would make of an empty datagram an answer.
fn has_required(mut rest: &[u8]) -> Result<bool, DecodeError> {
    let (mut has_type, mut has_success) = (false, false);
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        has_type |= tag == 1;
        has_success |= tag == 2;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
    }
    Ok(has_type && has_success)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{decode, encode_ack};
    use crate::proto;

    fn version_answer() -> Vec<u8> {
        proto::CriuResp {
            r#type: proto::CriuReqType::Version.into(),
            success: true,
            version: Some(proto::CriuVersion {
                major_number: 4,
                minor_number: 2,
                ..Default::default()
            }),
            ..Default::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn an_answer_comes_back_as_it_was_sent() {
        let answer = decode(&version_answer()).unwrap();
        assert!(answer.success);
        assert_eq!(answer.version.unwrap().minor_number, 2);
    }

    #[test]
    fn an_answer_without_a_required_field_is_malformed() {
        let success_only: &[u8] = &[0x10, 0x01];
        let type_only: &[u8] = &[0x08, 0x0a];
        for cut in [&[][..], success_only, type_only] {
            decode(cut).unwrap_err();
        }
    }

    #[test]
    fn an_answer_cut_inside_a_field_is_malformed() {
        let whole = version_answer();
        // A cut after `type` and `success` (4 bytes) leaves a whole, shorter answer.
        for length in (0..whole.len()).filter(|&length| length != 4) {
            assert!(
                decode(&whole[..length]).is_err(),
                "cut to {length} of {} bytes",
                whole.len()
            );
        }
    }

    #[test]
    fn an_answer_with_fields_of_a_newer_criu_is_read() {
        let mut newer = version_answer();
        newer.extend([0xfa, 0x07, 0x02, b'h', b'i']); // field 127, two bytes
        decode(&newer).unwrap();
    }

    #[test]
    fn an_ack_is_a_notify_request() {
        let ack = proto::CriuReq::decode(&*encode_ack(false)).unwrap();
        assert_eq!(ack.r#type(), proto::CriuReqType::Notify);
        assert_eq!(ack.notify_success, Some(false));
    }
}
