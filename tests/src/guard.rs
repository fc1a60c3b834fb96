//! Doors of a broker that ask who comes: TLS by a certificate of our own making, SASL/PLAIN by name and password.

use crate::kafka::{Doors, quiet_ports};
use crate::program;
use crate::scratch::Scratch;
use crate::server::Setup;
use std::fs;
use std::path::{Path, PathBuf};

/// Kafka's names of these doors.
pub const DOORS: [&str; 3] = ["SASL_PLAINTEXT", "SSL", "SASL_SSL"];
const USER: &str = "ringtail";
/// With what a property's value may hold.
const PASSWORD: &str = "s3cret, = and more";
const OPENSSL_SECONDS: u32 = 60;

/// What one broker's guarded doors ask for.
pub struct Guard {
    pub doors: Doors,
    certificate: PathBuf,
}

impl Guard {
    /// Makes a key with its certificate in the scratch folder, and chooses ports.
    ///
    /// # Panics
    /// When `openssl` is missing.
    pub fn new(scratch: &Scratch) -> Self {
        let (key, certificate) = (scratch.join("key.pem"), scratch.join("certificate.pem"));
        make_certificate(scratch, &key, &certificate);
        let both = [&key, &certificate].map(|path| fs::read(path).expect("openssl wrote it"));
        let store = scratch.join("store.pem");
        fs::write(&store, both.concat()).expect("the scratch folder takes files");
        let ports = quiet_ports(DOORS.len());
        let names = DOORS.iter().map(ToString::to_string);
        let listeners = names.zip(ports.into_iter().map(|[port, _]| port)).collect();
        let login = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_{USER}=\"{PASSWORD}\";"
        );
        let lines = format!(
            "sasl.enabled.mechanisms=PLAIN\n\
             listener.name.sasl_plaintext.plain.sasl.jaas.config={login}\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config={login}\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={}",
            store.display()
        );
        Self {
            doors: Doors { listeners, lines },
            certificate,
        }
    }

    /// An engine that comes to this door and knows what it asks for.
    ///
    /// # Panics
    /// When there is no such door.
    pub fn setup(&self, scratch: &Scratch, door: &str) -> Setup {
        let mut listeners = self.doors.listeners.iter();
        let found = listeners.find(|(name, _)| name == door);
        let (_, port) = found.expect("the door has a port");
        let client = |name: &str| format!("PUBLISHER_KAFKA_CLIENT_{name}");
        let mut setup = Setup::new(scratch)
            .set(&client("BOOTSTRAP_SERVERS"), format!("127.0.0.1:{port}"))
            .set(&client("SECURITY_PROTOCOL"), door);
        if door.starts_with("SASL") {
            setup = setup
                .set(&client("SASL_MECHANISM"), "PLAIN")
                .set(&client("SASL_USERNAME"), USER)
                .set(&client("SASL_PASSWORD"), PASSWORD);
        }
        if door.ends_with("SSL") {
            setup = setup.set(&client("SSL_CA_LOCATION"), self.certificate.display());
        }
        setup
    }
}

fn make_certificate(scratch: &Scratch, key: &Path, certificate: &Path) {
    let mut command = program::clean(Path::new("openssl"));
    command
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256"])
        .args(["-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate);
    let finished = program::run(command, scratch.path(), OPENSSL_SECONDS);
    assert_eq!(finished.code, Some(0), "openssl: {}", finished.stderr);
}
