//! TLS 1.3 between keys. A certificate here is only an envelope for an Ed25519 key: no name, no date and no authority
//! in it is looked at. Both sides always present one (mutual authentication), and a verifier accepts either exactly one
//! [`PeerId`] or, at the rendezvous, any.

use std::sync::{Arc, OnceLock};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};

use crate::identity::{Identity, PeerId};

/// The control protocol between a client and its rendezvous, version 1.
pub const ALPN_RENDEZVOUS: &[u8] = b"punchline-rv/1";
/// The protocol between two peers, version 1.
pub const ALPN_PEER: &[u8] = b"punchline/1";
/// The protocol around a tunnel, as every web server says it (RFC 7301, section 6).
pub const ALPN_TUNNEL: &[u8] = b"http/1.1";
/// What clients put where a server name is demanded. It is never sent (SNI is off) and never looked at.
pub const SERVER_NAME: &str = "punchline.invalid";

/// The DER of an Ed25519 SubjectPublicKeyInfo up to the 32 bytes of the key (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The DER of an Ed25519 PKCS #8 version 1 private key up to the 32 bytes of the seed (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rcgen refused the key.
    #[error("making the certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused the configuration.
    #[error("making the TLS configuration: {0}")]
    Config(#[from] Error),
}

/// A self-signed certificate and its key.
#[derive(Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Certificate {
    /// The certificate of an identity: its public key, self-signed.
    pub fn new(identity: &Identity) -> Result<Self, TlsError> {
        let mut pkcs8 = PKCS8_PREFIX.to_vec();
        pkcs8.extend_from_slice(identity.seed());
        let key = PrivatePkcs8KeyDer::from(pkcs8);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519)?;
        let der = CertificateParams::default().self_signed(&pair)?.der().clone();
        Ok(Certificate { der, key })
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.der.clone()], PrivateKeyDer::Pkcs8(self.key.clone_key()))
    }
}

impl Clone for Certificate {
    fn clone(&self) -> Self {
        Certificate { der: self.der.clone(), key: self.key.clone_key() }
    }
}

/// The key inside a certificate, if it is an Ed25519 one. Says nothing about who presents it: that is the handshake's.
fn peer_id_of(certificate: &CertificateDer<'_>) -> Option<PeerId> {
    PeerId::from_bytes(key_of(certificate)?).ok()
}

/// Who the other side of a finished handshake is, by the certificate that a configuration from here has accepted. Its key was looked
/// at then, which costs as much as a tenth of a signature, so it is not looked at again.
pub fn accepted_peer(certificate: &CertificateDer<'_>) -> Option<PeerId> {
    key_of(certificate).map(PeerId::known)
}

fn key_of(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let spki = parsed.subject_public_key_info();
    spki.as_ref().strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

/// Which key the other side showed, filled in during the handshake, so that a refusal can say whose key it saw.
pub type SeenPeer = Arc<OnceLock<PeerId>>;

/// The dialling side's configuration: we present `own`, the other side must be `expected`.
pub fn client_config(own: &Certificate, expected: PeerId, alpn: &[u8]) -> Result<(ClientConfig, SeenPeer), TlsError> {
    let (verifier, seen) = Verifier::new(Some(expected));
    let (chain, key) = own.parts();
    let mut config = ClientConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_sni = false;
    // A ticket would let a session go on without the certificates being shown again.
    config.resumption = Resumption::disabled();
    Ok((config, seen))
}

/// The accepting side's configuration: we present `own`; the other side must be `expected`, or anybody with a key.
pub fn server_config(
    own: &Certificate,
    expected: Option<PeerId>,
    alpn: &[u8],
) -> Result<(ServerConfig, SeenPeer), TlsError> {
    let (verifier, seen) = Verifier::new(expected);
    let (chain, key) = own.parts();
    let mut config = ServerConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok((config, seen))
}

/// The dialling side's configuration of a tunnel: the other side must be `expected`, and we show nothing. Who we are is
/// shown inside, and a proxy that looks into TLS does not learn it.
pub fn tunnel_client(expected: PeerId) -> Result<(ClientConfig, SeenPeer), TlsError> {
    let (verifier, seen) = Verifier::new(Some(expected));
    let mut config = ClientConfig::builder_with_provider(verifier.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok((config, seen))
}

/// The accepting side's configuration of a tunnel: we present `own` to anybody.
pub fn tunnel_server(own: &Certificate) -> Result<ServerConfig, TlsError> {
    let (chain, key) = own.parts();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Accepts one key (or any), whatever the certificate around it says.
#[derive(Debug)]
struct Verifier {
    expected: Option<PeerId>,
    seen: SeenPeer,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(expected: Option<PeerId>) -> (Self, SeenPeer) {
        let seen = SeenPeer::default();
        (Verifier { expected, seen: seen.clone(), provider: Arc::new(provider()) }, seen)
    }

    fn check(&self, end_entity: &CertificateDer<'_>) -> Result<(), Error> {
        let peer = peer_id_of(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        // An accepting side's slot is shared by all its handshakes: only the first one shows, which is why callers
        // that expect one peer make one configuration per connection.
        let _ = self.seen.set(peer);
        match self.expected {
            Some(expected) if expected != peer => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
}

/// The shorter keys first: the keys that prove and agree are worth 128 bits, so that more in the cipher adds nothing, and
/// SHA-256 is an instruction of most processors where SHA-384 is not, which saves a server a tenth of each handshake.
fn provider() -> CryptoProvider {
    use ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    let cipher_suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384];
    CryptoProvider { cipher_suites, ..ring::default_provider() }
}

/// TLS 1.2 is not offered, so its signatures are never asked for; should that change, the answer stays no.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken here".into()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConnection, ServerConnection};

    fn someone(seed: u8) -> (Identity, Certificate) {
        let identity = Identity::from_seed(&[seed; 32]);
        let certificate = Certificate::new(&identity).expect("a certificate");
        (identity, certificate)
    }

    /// Runs a handshake in memory; the error of whichever side refused.
    fn shake(client: ClientConfig, server: ServerConfig) -> Result<(), Error> {
        let name = ServerName::try_from(SERVER_NAME).expect("a name");
        let mut client = ClientConnection::new(Arc::new(client), name)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        for _ in 0..4 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).expect("memory");
            server.read_tls(&mut wire.as_slice()).expect("memory");
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).expect("memory");
            client.read_tls(&mut wire.as_slice()).expect("memory");
            client.process_new_packets()?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }

    #[test]
    fn two_who_expect_each_other_shake_hands() {
        let (alice, alice_cert) = someone(1);
        let (bob, bob_cert) = someone(2);
        let (client, seen_by_alice) = client_config(&alice_cert, bob.peer_id(), ALPN_PEER).expect("config");
        let (server, seen_by_bob) = server_config(&bob_cert, Some(alice.peer_id()), ALPN_PEER).expect("config");
        shake(client, server).expect("both keys are the expected ones");
        assert_eq!(seen_by_alice.get(), Some(&bob.peer_id()));
        assert_eq!(seen_by_bob.get(), Some(&alice.peer_id()));
    }

    #[test]
    fn a_dialler_refuses_another_key_and_knows_whose_it_saw() {
        let (alice, alice_cert) = someone(1);
        let (bob, _) = someone(2);
        let (mallory, mallory_cert) = someone(3);
        let (client, seen) = client_config(&alice_cert, bob.peer_id(), ALPN_PEER).expect("config");
        let (server, _) = server_config(&mallory_cert, Some(alice.peer_id()), ALPN_PEER).expect("config");
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        assert_eq!(shake(client, server), Err(refused));
        assert_eq!(seen.get(), Some(&mallory.peer_id()));
    }

    #[test]
    fn an_acceptor_refuses_another_key_but_a_rendezvous_takes_any() {
        let (alice, _) = someone(1);
        let (bob, bob_cert) = someone(2);
        let (_, mallory_cert) = someone(3);
        let dial = || client_config(&mallory_cert, bob.peer_id(), ALPN_PEER).expect("config").0;
        let (only_alice, _) = server_config(&bob_cert, Some(alice.peer_id()), ALPN_PEER).expect("config");
        assert!(shake(dial(), only_alice).is_err());
        let (anyone, _) = server_config(&bob_cert, None, ALPN_PEER).expect("config");
        shake(dial(), anyone).expect("any key will do");
    }

    #[test]
    fn a_tunnel_takes_anybody_and_leads_only_to_the_expected_key() {
        let (bob, bob_cert) = someone(2);
        let (mallory, mallory_cert) = someone(3);
        let (client, _) = tunnel_client(bob.peer_id()).expect("config");
        shake(client, tunnel_server(&bob_cert).expect("config")).expect("the key is the expected one");
        let (client, seen) = tunnel_client(bob.peer_id()).expect("config");
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        assert_eq!(shake(client, tunnel_server(&mallory_cert).expect("config")), Err(refused));
        assert_eq!(seen.get(), Some(&mallory.peer_id()));
    }

    #[test]
    fn a_copied_certificate_without_its_key_is_refused() {
        let (alice, alice_cert) = someone(1);
        let (bob, bob_cert) = someone(2);
        let (_, mallory_cert) = someone(3);
        let stolen = Certificate { der: bob_cert.der.clone(), key: mallory_cert.key.clone_key() };
        let (client, _) = client_config(&alice_cert, bob.peer_id(), ALPN_PEER).expect("config");
        // rustls itself refuses to pair a certificate with a foreign key.
        assert!(server_config(&stolen, Some(alice.peer_id()), ALPN_PEER).is_err());
        let (honest, _) = server_config(&bob_cert, Some(alice.peer_id()), ALPN_PEER).expect("config");
        shake(client, honest).expect("the owner of the key is welcome");
    }

    #[test]
    fn a_different_protocol_version_is_refused() {
        let (alice, alice_cert) = someone(1);
        let (bob, bob_cert) = someone(2);
        let (client, _) = client_config(&alice_cert, bob.peer_id(), b"punchline/2").expect("config");
        let (server, _) = server_config(&bob_cert, Some(alice.peer_id()), ALPN_PEER).expect("config");
        assert_eq!(shake(client, server), Err(Error::NoApplicationProtocol));
    }

    #[test]
    fn junk_is_no_certificate() {
        assert_eq!(peer_id_of(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])), None);
    }
}
