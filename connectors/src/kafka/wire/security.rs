//! `Security`: what `properties.security.protocol`, `.ssl.*` and `.sasl.*` ask of a connection, without secrets in
//! any text.

use super::connection::Stream;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use engine::error::{Error, Result};
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Most rounds of hashing that a broker may ask for.
const MAX_ROUNDS: u32 = 1 << 20;

/// How to reach brokers.
pub(in super::super) struct Security {
    tls: Option<Arc<rustls::ClientConfig>>,
    login: Option<Login>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

impl Security {
    /// Reads librdkafka's settings.
    ///
    /// Errors: settings that librdkafka can serve and this cannot, and files that cannot be read.
    pub(in super::super) fn new(settings: &BTreeMap<String, String>) -> Result<Self> {
        let get = |key: &str| settings.get(key).map(String::as_str).filter(|v| !v.is_empty());
        let protocol = get("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
        let tls = if protocol.ends_with("ssl") { Some(Arc::new(tls(&get)?)) } else { None };
        let login = if protocol.starts_with("sasl_") { Some(Login::new(&get)?) } else { None };
        Ok(Self { tls, login })
    }

    pub(super) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    pub(super) fn wrap(&self, tcp: TcpStream, host: &str) -> io::Result<Box<dyn Stream>> {
        let Some(config) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(host.to_string()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{host} is no name of a host"))
        })?;
        let client = rustls::ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Box::new(rustls::StreamOwned::new(client, tcp)))
    }
}

fn cannot(key: &str, what: &str, instead: &str) -> Error {
    Error::unsupported(
        format!("'properties.{key}' = '{what}' together with 'sink.delivery-guarantee' = 'exactly-once'"),
        instead.to_string(),
    )
}

fn tls<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<rustls::ClientConfig> {
    let with_pem = "Give 'properties.ssl.certificate.location' and 'properties.ssl.key.location' as PEM files \
                    (`openssl pkcs12 -in client.p12 -nodes`).";
    if let Some(file) = get("ssl.keystore.location") {
        return Err(cannot("ssl.keystore.location", file, with_pem));
    }
    if get("ssl.endpoint.identification.algorithm").is_some_and(|v| v.eq_ignore_ascii_case("none")) {
        return Err(cannot(
            "ssl.endpoint.identification.algorithm",
            "none",
            "The broker's certificate must name the broker's host.",
        ));
    }
    if get("enable.ssl.certificate.verification").is_some_and(|v| v.eq_ignore_ascii_case("false")) {
        return Err(cannot(
            "enable.ssl.certificate.verification",
            "false",
            "Give the authority of the broker's certificate as 'properties.ssl.ca.location'.",
        ));
    }
    if get("ssl.key.password").is_some() {
        return Err(cannot("ssl.key.password", "***", "Give the key as a PEM file without a password."));
    }
    let pem = |file: &str, inline: &str| -> Result<Option<Vec<u8>>> {
        match (get(file), get(inline)) {
            (Some(path), _) => std::fs::read(path)
                .map(Some)
                .map_err(|e| Error::user(format!("'{path}' of 'properties.{file}' cannot be read: {e}."))),
            (None, Some(text)) => Ok(Some(text.as_bytes().to_vec())),
            (None, None) => Ok(None),
        }
    };
    let certificates = |bytes: &[u8], key: &str| -> Result<Vec<CertificateDer<'static>>> {
        let all = CertificateDer::pem_slice_iter(bytes).collect::<std::result::Result<Vec<_>, _>>();
        let all = all.ok().filter(|all| !all.is_empty());
        all.ok_or_else(|| Error::user(format!("'properties.{key}' holds no certificates in PEM form.")))
    };
    let mut roots = rustls::RootCertStore::empty();
    match pem("ssl.ca.location", "ssl.ca.pem")? {
        Some(bytes) => {
            roots.add_parsable_certificates(certificates(&bytes, "ssl.ca.location")?);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let refuse =
        |e: rustls::Error| Error::user(format!("TLS cannot be set up with 'properties.ssl.*': {e}."));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refuse)?
        .with_root_certificates(roots);
    let certificate = pem("ssl.certificate.location", "ssl.certificate.pem")?;
    match (certificate, pem("ssl.key.location", "ssl.key.pem")?) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
                Error::user("'properties.ssl.key.location' holds no private key in PEM form.")
            })?;
            builder
                .with_client_auth_cert(certificates(&certificate, "ssl.certificate.location")?, key)
                .map_err(refuse)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram256,
    Scram512,
}

/// User, password and how to show them.
pub(super) struct Login {
    mechanism: Mechanism,
    user: String,
    password: String,
}

impl Login {
    fn new<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let name = get("sasl.mechanism").or_else(|| get("sasl.mechanisms")).unwrap_or("GSSAPI");
        let mechanism = match name.to_ascii_uppercase().as_str() {
            "PLAIN" => Mechanism::Plain,
            "SCRAM-SHA-256" => Mechanism::Scram256,
            "SCRAM-SHA-512" => Mechanism::Scram512,
            _ => {
                return Err(cannot(
                    "sasl.mechanism",
                    name,
                    "PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are possible, or 'at-least-once'.",
                ));
            }
        };
        let text = |key: &str| {
            let value = get(key).map(String::from);
            value.ok_or_else(|| Error::user(format!("SASL {name} needs 'properties.{key}'.")))
        };
        Ok(Self { mechanism, user: text("sasl.username")?, password: text("sasl.password")? })
    }

    pub(super) fn mechanism(&self) -> &'static str {
        match self.mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram256 => "SCRAM-SHA-256",
            Mechanism::Scram512 => "SCRAM-SHA-512",
        }
    }

    pub(super) fn begin(&self) -> io::Result<Talk<'_>> {
        let mut nonce = [0; 18];
        ring::rand::SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| io::Error::other("the system gives no random numbers"))?;
        Ok(Talk { login: self, nonce: BASE64.encode(nonce), step: Step::First })
    }
}

enum Step {
    First,
    /// The signature that the broker must show.
    Proven(Vec<u8>),
    Done,
}

/// What is said to log in.
pub(super) struct Talk<'a> {
    login: &'a Login,
    nonce: String,
    step: Step,
}

impl Talk<'_> {
    fn opening(&self) -> String {
        let user = self.login.user.replace('=', "=3D").replace(',', "=2C");
        format!("n={user},r={}", self.nonce)
    }

    /// What the client says first.
    pub(super) fn first(&self) -> Vec<u8> {
        match self.login.mechanism {
            Mechanism::Plain => format!("\0{}\0{}", self.login.user, self.login.password).into_bytes(),
            _ => format!("n,,{}", self.opening()).into_bytes(),
        }
    }

    /// What the client says to `answer`; `None` when all is said.
    ///
    /// Errors: why the broker is not trusted.
    pub(super) fn next(&mut self, answer: &[u8]) -> std::result::Result<Option<Vec<u8>>, String> {
        if self.login.mechanism == Mechanism::Plain {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(answer).into_owned();
        let field = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::First => {
                let wrong = || "the broker's SCRAM answer is not well-formed".to_string();
                let nonce = field("r").filter(|n| n.starts_with(&self.nonce)).ok_or_else(wrong)?;
                let salt = field("s").and_then(|s| BASE64.decode(s).ok()).ok_or_else(wrong)?;
                let rounds = field("i").and_then(|i| i.parse().ok()).filter(|i| *i <= MAX_ROUNDS);
                let rounds = rounds.and_then(NonZeroU32::new).ok_or_else(wrong)?;
                let without_proof = format!("c=biws,r={nonce}");
                let said = format!("{},{text},{without_proof}", self.opening());
                let (proof, signature) = self.prove(&salt, rounds, said.as_bytes());
                self.step = Step::Proven(signature);
                Ok(Some(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes()))
            }
            Step::Proven(signature) => match field("v").and_then(|v| BASE64.decode(v).ok()) {
                Some(shown) if shown == signature => Ok(None),
                _ => Err("the broker could not prove that it knows the password".to_string()),
            },
            Step::Done => Ok(None),
        }
    }

    /// The client's proof and the broker's signature, as RFC 5802 has them.
    fn prove(&self, salt: &[u8], rounds: NonZeroU32, said: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (derive, mac, hash) = match self.login.mechanism {
            Mechanism::Scram512 => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
            _ => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
        };
        let mut salted = vec![0; hash.output_len()];
        pbkdf2::derive(derive, rounds, salt, self.login.password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(mac, key), text).as_ref().to_vec();
        let client = sign(&salted, b"Client Key");
        let stored = digest::digest(hash, &client);
        let signature = sign(stored.as_ref(), said);
        let proof = client.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        (proof, sign(&sign(&salted, b"Server Key"), said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(given: &[(&str, &str)]) -> BTreeMap<String, String> {
        given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn scram_says_what_the_rfc_says() {
        // The example of RFC 7677.
        let login = Login { mechanism: Mechanism::Scram256, user: "user".into(), password: "pencil".into() };
        let mut talk = Talk { login: &login, nonce: "rOprNGfwEbeRWgbNEkqO".into(), step: Step::First };
        assert_eq!(talk.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = String::from_utf8(talk.next(answer).unwrap().unwrap()).unwrap();
        assert!(last.ends_with("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{last}");
        let mut liar = Talk { login: &login, nonce: talk.nonce.clone(), step: Step::First };
        liar.next(answer).unwrap();
        assert!(liar.next(b"v=AAAA").is_err());
        assert_eq!(talk.next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap(), None);
    }

    #[test]
    fn what_is_not_possible_is_said_without_secrets() {
        let refused = |given: &[(&str, &str)]| {
            let error = Security::new(&settings(given)).unwrap_err();
            format!("{} {}", error.message(), error.hint().unwrap_or(""))
        };
        let text = refused(&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "OAUTHBEARER")]);
        assert!(text.contains("SCRAM-SHA-512") && text.contains("exactly-once"), "{text}");
        let text = refused(&[("security.protocol", "ssl"), ("ssl.keystore.location", "a.p12")]);
        assert!(text.contains("ssl.certificate.location"), "{text}");
        let text = refused(&[("security.protocol", "ssl"), ("ssl.key.password", "hush")]);
        assert!(!text.contains("hush"), "{text}");
        assert!(Security::new(&settings(&[("security.protocol", "ssl")])).unwrap().tls.is_some());
        let plain = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "u"),
            ("sasl.password", "hush"),
        ];
        let security = Security::new(&settings(&plain)).unwrap();
        assert!(!format!("{security:?}").contains("hush"));
        assert_eq!(security.login().unwrap().begin().unwrap().first(), b"\0u\0hush");
    }
}
