//! The operator's own identity is nobody's credentials: what stands in its environment, in profile files or at a metadata service
//! is never looked at for a Connection, not even where a Connection has no credentials.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    harness::{operator::Operator, script},
    peer::Peer,
    stage::{FLAGS, OWN, in_namespace},
    web::{Answer, Web},
};

/// The word in everything that must not be used.
const AMBIENT: &str = "ambient";

/// What the flag means and how the error is called: fcntl.h and errno(3) of Linux.
const O_NONBLOCK: i32 = 0o4000;
const ENXIO: i32 = 6;

const LISTED: &str = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>orders</Name>\
    <Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>";

const ASSUMED: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
    <SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-token</SessionToken></Credentials>\
    </AssumeRoleResult></AssumeRoleResponse>";

#[test]
fn no_identity_of_the_operators_own_is_ever_touched() {
    in_namespace(async |stage, namespace| {
        let metadata = Peer::that(async |stream| drop(stream)).await;
        let bucket = Web::that(|_| Some(Answer::new(200, LISTED))).await;
        let sts = Web::that(|_| Some(Answer::new(200, ASSUMED))).await;
        let profile = Fifo::new("profile");
        let home = script::run_directory().join("ambient-home");
        fs::create_dir_all(home.join(".aws")).unwrap();
        let own_files = [Fifo::at(home.join(".aws/config")), Fifo::at(home.join(".aws/credentials"))];

        let account = stage.own_account(&namespace).await;
        let flags = [&FLAGS[..], &["--namespaces", &namespace.name, "--selector", OWN]].concat();
        let operator = Operator::launch_in(&account, &flags, &environment(metadata.address, &profile.0, &home)).await;
        operator.ready().await.unwrap();

        namespace.secret("orders", &[("accessKeyId", "AKIAOWN"), ("secretAccessKey", "own-secret")]).await;
        let credentials = json!({"secretRef": {"name": "orders"}});
        let role = json!({
            "roleARN": "arn:aws:iam::123456789012:role/reader", "endpoint": format!("http://{}", sts.peer.address),
        });
        let url = format!("http://{}", bucket.peer.address);
        for (name, settings, credentials) in [
            ("keys", json!({}), credentials.clone()),
            ("role", json!({"assumeRole": role}), credentials),
            ("nobody", json!({"anonymous": true}), Value::Null),
        ] {
            let mut connection = json!({
                "apiVersion": "connectivity.dev/v1alpha1",
                "kind": "Connection",
                "metadata": {"name": name, "labels": {OWN: ""}},
                "spec": {
                    "type": "S3",
                    "s3": {"bucket": "orders", "region": "us-east-1", "endpoint": url},
                    "credentials": credentials,
                    "tls": {"mode": "Disable"},
                    "permissions": ["List", "Read"],
                },
            });
            json_patch::merge(&mut connection["spec"]["s3"], &settings);
            namespace.create(connection).await;
            namespace.becomes(name, "Ready", "True", "Succeeded").await;
        }

        assert_eq!(metadata.accepted(), 0, "a metadata service or another endpoint was asked");
        for file in own_files.iter().chain([&profile]) {
            assert!(!file.is_read(), "{} was opened", file.0.display());
        }
        let asked: Vec<_> = bucket.asked().into_iter().chain(sts.asked()).collect();
        assert!(asked.len() >= 7, "two requests for each bucket, one for the role: {asked:?}");
        for asked in asked {
            let all = format!("{asked:?}").to_lowercase();
            assert!(!all.contains(AMBIENT), "{all}");
            let signed = asked.header("authorization");
            assert!(signed.is_empty() || signed.contains("/us-east-1/"), "{signed}");
        }
        operator.stop().await;
    });
}

/// Everything in an environment that the tools of AWS look at.
fn environment(elsewhere: SocketAddr, file: &Path, home: &Path) -> Vec<(&'static str, String)> {
    let url = format!("http://{elsewhere}");
    let named =
        |names: &[&'static str], value: &str| names.iter().map(|name| (*name, value.to_owned())).collect::<Vec<_>>();
    let file = file.display().to_string();
    [
        named(
            &[
                "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_ENDPOINT_URL",
                "AWS_ENDPOINT_URL_S3",
                "AWS_ENDPOINT_URL_STS",
            ],
            &url,
        ),
        named(
            &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE"],
            &file,
        ),
        named(
            &[
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN",
                "AWS_PROFILE",
                "AWS_EXECUTION_ENV",
                "AWS_LAMBDA_FUNCTION_NAME",
                "AWS_SDK_UA_APP_ID",
                "AWS_ROLE_SESSION_NAME",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            ],
            AMBIENT,
        ),
        named(&["AWS_REGION", "AWS_DEFAULT_REGION"], "ap-ambient-1"),
        named(&["AWS_ACCESS_KEY_ID"], "AKIAAMBIENT"),
        named(&["AWS_ROLE_ARN"], "arn:aws:iam::123456789012:role/ambient"),
        named(&["_X_AMZN_TRACE_ID"], "Root=1-ambient"),
        named(&["HOME"], &home.display().to_string()),
    ]
    .concat()
}

/// A file whose reader can be seen: a named pipe, which whoever opens it holds until somebody writes.
struct Fifo(PathBuf);

impl Fifo {
    fn new(name: &str) -> Self {
        Self::at(script::run_directory().join(name))
    }

    fn at(path: PathBuf) -> Self {
        script::run(Command::new("mkfifo").arg(&path)).unwrap();
        Self(path)
    }

    /// Whether somebody has opened it to read.
    fn is_read(&self) -> bool {
        match fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&self.0) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(ENXIO), "{error}");
                false
            }
        }
    }
}

#[test]
fn a_reader_of_a_named_pipe_is_seen() {
    let pipe = Fifo::new("seen");
    assert!(!pipe.is_read());
    let path = pipe.0.clone();
    // It waits in `open` until a writer comes, which is the look at it.
    let reader = std::thread::spawn(move || fs::read(path));
    while !pipe.is_read() {
        std::thread::yield_now();
    }
    reader.join().unwrap().unwrap();
}
