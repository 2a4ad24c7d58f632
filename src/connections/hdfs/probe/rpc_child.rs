//! What a child of the operator does for HDFS: it asks one name node by hdfs-native, which may panic, allocate what a peer says, and
//! load a library of C. It runs alone in its process and reaches what it was told to, and nothing else.

use std::{
    fs::File,
    io::{self, Write as _},
    net::SocketAddrV4,
    os::fd::{AsRawFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdfs_native::{ClientBuilder, HdfsError};
use rustix::fs::MemfdFlags;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};

/// All of the environment. The files are in memory: there is no disk to write to, and no other process sees them.
pub(super) const ENVIRONMENT: [(&str, &str); 4] = [
    ("KRB5_CONFIG", "/proc/self/fd/40"),
    ("KRB5_KTNAME", KEYTAB),
    ("KRB5_CLIENT_KTNAME", KEYTAB),
    ("KRB5CCNAME", "MEMORY:probe"),
];

const KEYTAB: &str = "FILE:/proc/self/fd/41";

/// The numbers of the two files, which the environment names: high enough that nothing else has them.
const CONFIGURATION_NUMBER: i32 = 40;
const KEYTAB_NUMBER: i32 = 41;

/// What hdfs-native says where it does not find the library of Kerberos.
const NO_LIBRARY: &str = "Failed to load libgssapi_krb";

/// What the child is told.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told<'a> {
    /// Where it finds the name node.
    pub(super) name_node: SocketAddrV4,
    /// The path that is asked for.
    pub(super) path: String,
    /// Whether what is in it is asked for, too.
    pub(super) list: bool,
    /// Whom it calls itself, without Kerberos.
    pub(super) user: Option<String>,
    /// How it logs in otherwise.
    #[serde(borrow)]
    pub(super) kerberos: Option<ToldKerberos<'a>>,
}

/// What the child is told about Kerberos.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToldKerberos<'a> {
    /// The principal with its realm.
    pub(super) principal: String,
    /// The configuration of the library.
    pub(super) configuration: String,
    /// The keytab in base64, which needs no escape: so it is read where it is, and not copied.
    pub(super) keytab: &'a str,
}

/// What the child answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Answer {
    /// The path is there, and what was asked for is permitted.
    Found {
        /// Whether it is a directory.
        directory: bool,
    },
    /// What was asked first or then was not answered.
    Failed {
        /// Whether the path is known to be there.
        found: bool,
        /// Why.
        how: How,
    },
}

/// Why there is no answer of the name node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum How {
    /// There is no such path.
    Missing,
    /// An exception, by the name of its class.
    Exception(String),
    /// An error of GSSAPI, by its minor code.
    Kerberos(u32),
    /// The login ended in a way that is none.
    Login,
    /// The connection ended, or what came cannot be read.
    Strange,
    /// The library panicked.
    Panicked,
    /// The library of Kerberos is not there.
    NoLibrary,
    /// The child cannot do what it is told.
    Unable,
}

/// Does the job.
pub(in crate::connections::hdfs) fn work(told: &[u8]) -> String {
    let unable = Answer::Failed { found: false, how: How::Unable };
    let answer = match serde_json::from_slice::<Told<'_>>(told) {
        Ok(told) => {
            catch_unwind(AssertUnwindSafe(|| ask(&told))).unwrap_or(Answer::Failed { found: false, how: How::Panicked })
        }
        Err(_) => unable,
    };
    serde_json::to_string(&answer).unwrap_or_default()
}

fn ask(told: &Told<'_>) -> Answer {
    let unable = || Answer::Failed { found: false, how: How::Unable };
    let mut builder = ClientBuilder::new().with_url(format!("hdfs://{}", told.name_node));
    let _files = match &told.kerberos {
        None => {
            builder = builder.with_user(told.user.clone().unwrap_or_default());
            None
        }
        Some(kerberos) => {
            let Ok(files) = files(kerberos) else { return unable() };
            builder = builder.with_kerberos_principal(&*kerberos.principal).with_kerberos_keytab(KEYTAB);
            Some(files)
        }
    };
    let authentication = if told.kerberos.is_some() { "kerberos" } else { "simple" };
    let builder = builder.with_config([
        ("hadoop.security.authentication", authentication),
        // Nothing is tried again.
        ("dfs.client.failover.max.attempts", "0"),
    ]);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return unable() };
    runtime.block_on(async {
        let failed = |found: bool| move |error: HdfsError| Answer::Failed { found, how: explain(&error) };
        let asked = async {
            let client = builder.build().map_err(failed(false))?;
            let status = client.get_file_info(&told.path).await.map_err(failed(false))?;
            if told.list {
                // One batch of names is asked for.
                client.list_status_iter(&told.path, false).next().await.transpose().map_err(failed(true))?;
            }
            Ok(Answer::Found { directory: status.isdir })
        };
        asked.await.unwrap_or_else(|failed| failed)
    })
}

fn explain(error: &HdfsError) -> How {
    match error {
        HdfsError::FileNotFound(_) => How::Missing,
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => {
            How::Exception(class.chars().take(200).collect())
        }
        HdfsError::GSSAPIError(_, minor, _) => How::Kerberos(*minor),
        HdfsError::SASLError(_) | HdfsError::NoSASLMechanism => How::Login,
        HdfsError::IOError(_) | HdfsError::InvalidRPCResponse(_) => How::Strange,
        HdfsError::OperationFailed(words) if words == NO_LIBRARY => How::NoLibrary,
        _ => How::Unable,
    }
}

/// The configuration and the keytab, where the environment says that they are.
fn files(kerberos: &ToldKerberos<'_>) -> io::Result<[OwnedFd; 2]> {
    let mut keytab = Zeroizing::new(vec![0; kerberos.keytab.len()]);
    let length = STANDARD.decode_slice(kerberos.keytab, &mut keytab).map_err(io::Error::other)?;
    Ok([file(CONFIGURATION_NUMBER, kerberos.configuration.as_bytes())?, file(KEYTAB_NUMBER, &keytab[..length])?])
}

/// A file in memory with this number.
fn file(number: i32, content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("kerberos", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    let file = rustix::io::fcntl_dupfd_cloexec(&file, number)?;
    if file.as_raw_fd() == number { Ok(file) } else { Err(io::ErrorKind::AlreadyExists.into()) }
}
