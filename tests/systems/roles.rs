//! What holds of every type of AWS that may assume a role.

use std::time::Duration;

use connection_operator::{
    connections::{Definition, family::aws::AssumeRole, fields::HttpUrl},
    failure::{Reason, Stage},
    net::tls::Mode,
};
use tokio::io::AsyncReadExt as _;

use crate::{
    case::Case,
    harness::{
        moto::server,
        peer::{self, Peer},
    },
};

/// The service that gives the role's keys is named where it refuses connections, or never answers. `case` assumes one.
pub async fn come_from_a_service_that_answers<S: Definition + Clone>(
    case: Case<S>,
    role: impl Fn(&mut S) -> &mut Option<AssumeRole>,
) {
    let silent = Peer::that(async |mut stream| drop(stream.read_to_end(&mut Vec::new()).await)).await;
    for (service, reason) in [(peer::nobody(), Reason::ConnectionRefused), (silent.address, Reason::TimedOut)] {
        let endpoint = HttpUrl(format!("https://{service}"));
        let case = case.clone().with(|settings| role(settings).as_mut().expect("a role").endpoint = Some(endpoint));
        let message = case.within(Duration::from_secs(1)).ends(Stage::Reach, reason).await;
        assert!(message.contains(&service.to_string()), "{message}");
    }
}

/// The service that gives the role's keys is verified whatever is enough for the type's own endpoint. `case` assumes one.
pub async fn come_from_a_verified_service<S: Definition + Clone>(
    case: Case<S>,
    role: impl Fn(&mut S) -> &mut Option<AssumeRole>,
) {
    // Where the certificate is for another name.
    let misnamed = HttpUrl(format!("https://127.0.0.2:{}", server().https.port()));
    let elsewhere = case.clone().with(|settings| role(settings).as_mut().expect("a role").endpoint = Some(misnamed));
    for mode in [Mode::Require, Mode::VerifyCa] {
        let case = elsewhere.clone().tls(|tls| tls.mode = mode);
        let message = case.ends(Stage::Reach, Reason::CertificateNameMismatch).await;
        assert!(message.contains("127.0.0.2"), "{message}");
    }
    let case = case.tls(|tls| (tls.mode, tls.roots) = (Mode::Require, server().said.other_ca()));
    let message = case.ends(Stage::Reach, Reason::CertificateUntrusted).await;
    assert!(message.contains(&server().https.to_string()), "{message}");
}
