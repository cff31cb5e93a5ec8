//! STUN Binding (RFC 8489) with the attributes of NAT behaviour discovery (RFC 5780), and the authenticated form that
//! probes have. The bytes are stun-rs's business; here is what of them we accept and say.

use std::net::SocketAddr;

use stun_rs::attributes::discovery::{ChangeRequest, ChangeRequestFlags, OtherAddress, ResponseOrigin, ResponsePort};
use stun_rs::attributes::ice::UseCandidate;
use stun_rs::attributes::stun::{
    ErrorCode, Fingerprint, MessageIntegritySha256, UnknownAttributes, UserName, XorMappedAddress,
};
use stun_rs::methods::BINDING;
use stun_rs::{
    DecoderContextBuilder, HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunAttribute,
    StunMessage, StunMessageBuilder,
};

use crate::candidate::canonical;
use crate::datagram::{self, Kind};
use crate::pairing::ProbeKey;

/// No message of ours is longer; the buffer that messages are written to.
const MAX_MESSAGE: usize = 512;
/// The longest request that is looked at: far above any real one, far below a jumbo frame full of attributes.
const MAX_REQUEST: usize = 1280;

/// 96 random or derived bits that tie a response to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// Where a CHANGE-REQUEST asks the response to come from (RFC 5780, section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// From the other address.
    pub ip: bool,
    /// From the other port.
    pub port: bool,
}

/// A decoded Binding message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A success response.
    Response(Response),
    /// An error response.
    Error {
        /// Whose request failed.
        transaction: TransactionId,
        /// 300-699.
        code: u16,
    },
}

/// A Binding request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// To be repeated in the response.
    pub transaction: TransactionId,
    /// USERNAME, of a probe.
    pub username: Option<String>,
    /// USE-CANDIDATE, of a probe (RFC 8445, section 8.1.1): this is the path.
    pub nominates: bool,
    /// CHANGE-REQUEST.
    pub change: Change,
    /// RESPONSE-PORT (RFC 5780, section 7.5): answer there, at the address of the source, instead of at the source.
    pub response_port: Option<u16>,
    /// Attributes that must be understood and are not: the answer is error 420.
    pub unknown: Vec<u16>,
}

/// A Binding success response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// From the request.
    pub transaction: TransactionId,
    /// XOR-MAPPED-ADDRESS: where the request came from.
    pub mapped: SocketAddr,
    /// RESPONSE-ORIGIN: where the response was sent from.
    pub origin: Option<SocketAddr>,
    /// OTHER-ADDRESS: the server's second address and port.
    pub other: Option<SocketAddr>,
}

/// The key of short-term credentials (RFC 8489, section 9.1).
#[derive(Clone)]
pub struct Credential(HMACKey);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(secret)")
    }
}

impl Credential {
    /// The password is the key's hexadecimal form: ASCII, as the string preparation of RFC 8265 wants it.
    pub fn new(key: &ProbeKey) -> Self {
        let password = data_encoding::HEXLOWER.encode(key.as_bytes());
        Credential(HMACKey::new_short_term(password).expect("hexadecimal digits are a valid OpaqueString"))
    }
}

/// Why a datagram is no STUN message for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// It is not STUN, or a broken one.
    #[error("not a well-formed STUN message")]
    Malformed,
    /// A method or class that we do not speak.
    #[error("not a STUN Binding request or response")]
    Unsupported,
    /// MESSAGE-INTEGRITY-SHA256 is missing or wrong.
    #[error("the message is not authenticated by the expected key")]
    Unauthenticated,
}

/// Decodes without looking at integrity.
pub fn decode(bytes: &[u8]) -> Result<Message, StunError> {
    interpret(&parse(bytes, None)?)
}

/// Decodes and demands MESSAGE-INTEGRITY-SHA256 and FINGERPRINT under this key.
pub fn decode_authenticated(bytes: &[u8], credential: &Credential) -> Result<Message, StunError> {
    let message = parse(bytes, Some(credential))?;
    // stun-rs checks what is there; that it is there, we check.
    if message.get::<MessageIntegritySha256>().is_none() || message.get::<Fingerprint>().is_none() {
        return Err(StunError::Unauthenticated);
    }
    interpret(&message)
}

/// A request without credentials, for discovery.
pub fn encode_request(transaction: TransactionId, change: Change) -> Vec<u8> {
    let mut builder = start(MessageClass::Request, transaction);
    let flags = match (change.ip, change.port) {
        (false, false) => None,
        (true, false) => Some(ChangeRequestFlags::ChangeIp.into()),
        (false, true) => Some(ChangeRequestFlags::ChangePort.into()),
        (true, true) => Some(ChangeRequestFlags::ChangeIp | ChangeRequestFlags::ChangePort),
    };
    if flags.is_some() {
        builder = builder.with_attribute(ChangeRequest::new(flags));
    }
    finish(builder.with_attribute(Fingerprint::default()))
}

/// A request whose answer is to go to another port of the address that it comes from (RFC 5780, section 7.5).
pub fn encode_request_for_port(transaction: TransactionId, port: u16) -> Vec<u8> {
    let builder = start(MessageClass::Request, transaction).with_attribute(ResponsePort::from(port));
    finish(builder.with_attribute(Fingerprint::default()))
}

/// A success response without credentials, for a server.
pub fn encode_response(response: &Response) -> Vec<u8> {
    let mut builder = start(MessageClass::SuccessResponse, response.transaction)
        .with_attribute(XorMappedAddress::from(response.mapped));
    if let Some(origin) = response.origin {
        builder = builder.with_attribute(ResponseOrigin::from(origin));
    }
    if let Some(other) = response.other {
        builder = builder.with_attribute(OtherAddress::from(other));
    }
    finish(builder.with_attribute(Fingerprint::default()))
}

/// Error 420, Unknown Attribute (RFC 8489, section 6.3.1). Names at most eight, so that the answer stays no longer than
/// the question.
pub fn encode_unknown_attributes(transaction: TransactionId, unknown: &[u16]) -> Vec<u8> {
    let mut builder = start(MessageClass::ErrorResponse, transaction);
    if let Ok(code) = stun_rs::ErrorCode::new(420, "Unknown Attribute") {
        builder = builder.with_attribute(ErrorCode::new(code));
    }
    let mut attributes = UnknownAttributes::default();
    unknown.iter().take(8).for_each(|kind| attributes.add(*kind));
    finish(builder.with_attribute(attributes).with_attribute(Fingerprint::default()))
}

/// A probe: an authenticated request.
pub fn encode_probe(transaction: TransactionId, username: &str, credential: &Credential) -> Vec<u8> {
    let mut builder = start(MessageClass::Request, transaction);
    if let Ok(username) = UserName::new(username) {
        builder = builder.with_attribute(username);
    }
    authenticate(builder, credential)
}

/// A probe that says: this is the path (RFC 8445, section 8.1.1).
pub fn encode_nomination(transaction: TransactionId, username: &str, credential: &Credential) -> Vec<u8> {
    let mut builder = start(MessageClass::Request, transaction).with_attribute(UseCandidate::default());
    if let Ok(username) = UserName::new(username) {
        builder = builder.with_attribute(username);
    }
    authenticate(builder, credential)
}

/// The answer to a probe, under the key of the request.
pub fn encode_probe_response(transaction: TransactionId, mapped: SocketAddr, credential: &Credential) -> Vec<u8> {
    let builder = start(MessageClass::SuccessResponse, transaction).with_attribute(XorMappedAddress::from(mapped));
    authenticate(builder, credential)
}

fn start(class: MessageClass, transaction: TransactionId) -> StunMessageBuilder {
    StunMessageBuilder::new(BINDING, class).with_transaction_id(transaction.0.into())
}

fn authenticate(builder: StunMessageBuilder, credential: &Credential) -> Vec<u8> {
    let integrity = MessageIntegritySha256::new(credential.0.clone());
    finish(builder.with_attribute(integrity).with_attribute(Fingerprint::default()))
}

fn finish(builder: StunMessageBuilder) -> Vec<u8> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let size = MessageEncoderBuilder::default().build().encode(&mut bytes, &builder.build());
    bytes.truncate(size.expect("a handful of fixed-size attributes fits in the buffer"));
    bytes
}

fn parse(bytes: &[u8], credential: Option<&Credential>) -> Result<StunMessage, StunError> {
    let length = bytes.get(2..4).map(|l| usize::from(u16::from_be_bytes([l[0], l[1]])));
    let exact = length.is_some_and(|length| length % 4 == 0 && length + 20 == bytes.len());
    if datagram::classify(bytes) != Kind::Stun || !exact || bytes.len() > MAX_REQUEST {
        return Err(StunError::Malformed);
    }
    let mut context = DecoderContextBuilder::default();
    if let Some(Credential(key)) = credential {
        context = context.with_key(key.clone()).with_validation();
    }
    let decoder = MessageDecoderBuilder::default().with_context(context.build()).build();
    let failed = if credential.is_some() { StunError::Unauthenticated } else { StunError::Malformed };
    decoder.decode(bytes).map(|(message, _)| message).map_err(|_| failed)
}

fn interpret(message: &StunMessage) -> Result<Message, StunError> {
    if message.method() != BINDING {
        return Err(StunError::Unsupported);
    }
    let transaction = TransactionId(*message.transaction_id().as_bytes());
    match message.class() {
        MessageClass::Request => Ok(Message::Request(request(message, transaction))),
        MessageClass::SuccessResponse => {
            let mapped = message.get::<XorMappedAddress>().and_then(|a| a.as_xor_mapped_address().ok());
            let origin = message.get::<ResponseOrigin>().and_then(|a| a.as_response_origin().ok());
            let other = message.get::<OtherAddress>().and_then(|a| a.as_other_address().ok());
            Ok(Message::Response(Response {
                transaction,
                mapped: canonical(*mapped.ok_or(StunError::Malformed)?.socket_address()),
                origin: origin.map(|a| canonical(*a.socket_address())),
                other: other.map(|a| canonical(*a.socket_address())),
            }))
        }
        MessageClass::ErrorResponse => {
            let error = message.get::<ErrorCode>().and_then(|a| a.as_error_code().ok());
            Ok(Message::Error { transaction, code: error.ok_or(StunError::Malformed)?.error_code().error_code() })
        }
        MessageClass::Indication => Err(StunError::Unsupported),
    }
}

fn request(message: &StunMessage, transaction: TransactionId) -> Request {
    let username = message.get::<UserName>().and_then(|a| a.as_user_name().ok());
    let flags = message.get::<ChangeRequest>().and_then(|a| a.as_change_request().ok()).map(ChangeRequest::flags);
    let understood = |attribute: &&StunAttribute| {
        matches!(
            attribute,
            StunAttribute::UserName(_)
                | StunAttribute::UseCandidate(_)
                | StunAttribute::ChangeRequest(_)
                | StunAttribute::ResponsePort(_)
                | StunAttribute::MessageIntegrity(_)
                | StunAttribute::MessageIntegritySha256(_)
        )
    };
    let unknown =
        message.attributes().iter().filter(|a| a.attribute_type().is_comprehension_required() && !understood(a));
    Request {
        transaction,
        username: username.map(|name| name.as_str().to_owned()),
        nominates: message.get::<UseCandidate>().is_some(),
        change: Change {
            ip: flags.is_some_and(|f| f.contains(ChangeRequestFlags::ChangeIp)),
            port: flags.is_some_and(|f| f.contains(ChangeRequestFlags::ChangePort)),
        },
        response_port: message.get::<ResponsePort>().and_then(|a| a.as_response_port().ok()).map(ResponsePort::as_u16),
        unknown: unknown.map(|a| a.attribute_type().as_u16()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::introduction::IntroductionId;
    use crate::pairing::Pairing;
    use proptest::prelude::*;

    const T: TransactionId = TransactionId([7; 12]);

    fn credential(seed: u8) -> Credential {
        let (own, peer) = (Identity::from_seed(&[seed; 32]), Identity::from_seed(&[99; 32]));
        let pairing = Pairing::new(&own, peer.peer_id()).expect("a secret");
        Credential::new(&pairing.own_probe_key(IntroductionId(1)))
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_probe_fits_in_120_bytes_and_is_answered_in_as_few() {
        let probe = encode_probe(T, "0123456789abcdef", &credential(1));
        assert!(probe.len() <= 120, "{}", probe.len());
        let answer = encode_probe_response(T, address("[2001:db8::1]:65535"), &credential(1));
        assert!(answer.len() <= 120, "{}", answer.len());
    }

    #[test]
    fn only_the_right_key_authenticates() {
        let probe = encode_probe(T, "0123456789abcdef", &credential(1));
        let Ok(Message::Request(request)) = decode_authenticated(&probe, &credential(1)) else { panic!("a request") };
        assert_eq!(request.username.as_deref(), Some("0123456789abcdef"));
        assert_eq!(decode_authenticated(&probe, &credential(2)), Err(StunError::Unauthenticated));
        let open = encode_request(T, Change::default());
        assert_eq!(decode_authenticated(&open, &credential(1)), Err(StunError::Unauthenticated));
    }

    #[test]
    fn the_answer_to_a_stranger_is_never_much_longer_than_his_question() {
        let question = encode_request(T, Change::default());
        let v6 = address("[2001:db8::1]:3478");
        let answer = encode_response(&Response { transaction: T, mapped: v6, origin: Some(v6), other: Some(v6) });
        // RFC 9000's rule for unvalidated peers, which STUN has no other defence for.
        assert!(answer.len() <= 4 * question.len(), "{} for {}", answer.len(), question.len());
        let v4 = address("11.1.1.1:3478");
        let answer = encode_response(&Response { transaction: T, mapped: v4, origin: Some(v4), other: Some(v4) });
        assert!(answer.len() <= 3 * question.len(), "{} for {}", answer.len(), question.len());
    }

    #[test]
    fn what_discovery_asks_and_hears_survives_the_wire() {
        for (ip, port) in [(false, false), (true, false), (false, true), (true, true)] {
            let bytes = encode_request(T, Change { ip, port });
            let Ok(Message::Request(request)) = decode(&bytes) else { panic!("a request") };
            assert_eq!(request.change, Change { ip, port });
            assert!(request.unknown.is_empty());
        }
        let Ok(Message::Request(request)) = decode(&encode_request_for_port(T, 40_001)) else { panic!("a request") };
        assert_eq!((request.response_port, request.unknown), (Some(40_001), vec![]));
        let response = Response {
            transaction: T,
            mapped: address("11.1.1.2:4000"),
            origin: Some(address("11.1.1.1:3478")),
            other: Some(address("11.1.1.9:3479")),
        };
        assert_eq!(decode(&encode_response(&response)), Ok(Message::Response(response)));
    }

    #[test]
    fn unknown_demands_are_answered_by_420() {
        // PADDING (0x0026) would have to be answered with as much.
        let mut bytes = encode_request(T, Change::default())[..20].to_vec();
        bytes.extend([0x00, 0x26, 0, 4, 0x10, 0x00, 0, 0]);
        bytes[3] = 8;
        let Ok(Message::Request(request)) = decode(&bytes) else { panic!("a request") };
        assert_eq!(request.unknown, [0x26]);
        let answer = encode_unknown_attributes(T, &request.unknown);
        assert_eq!(decode(&answer), Ok(Message::Error { transaction: T, code: 420 }));
    }

    proptest! {
        #[test]
        fn junk_never_panics(junk in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..2) {
            let mut bytes = vec![kind, 1, 0, junk.len() as u8 & !3, 0x21, 0x12, 0xa4, 0x42];
            bytes.extend(junk);
            let _ = decode(&bytes);
            let _ = decode_authenticated(&bytes, &credential(1));
        }

        #[test]
        fn one_flipped_bit_breaks_a_probe(bit in 0usize..84 * 8) {
            let mut probe = encode_probe(T, "0123456789abcdef", &credential(1));
            prop_assume!(bit < probe.len() * 8);
            probe[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_authenticated(&probe, &credential(1)).is_err());
        }
    }
}
