//! The looks at a bucket: list one key and, where it is asked for, read one byte and begin to write without writing.
//!
//! The SDK signs requests and reads answers; every byte of it goes through [`Door`], which is an HTTP client over the network
//! of the probe. The SDK is given all that it knows: it retries nothing, caches nothing, and looks for no identity.

mod door;

use aws_sdk_s3::{
    Client, Config,
    config::{
        self, BehaviorVersion, IdentityCache, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
    operation::list_objects_v2::ListObjectsV2Output,
    types::{CompletedMultipartUpload, CompletedPart, RequestPayer},
};
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};

use super::{Keys, Region, call, codes::Refused};
use crate::{
    connections::{Permission, text},
    failure::{Failure, FailureClass, Setting, Stage},
    net::{Network, tls::Tls},
};
use door::{Door, SameEverywhere};

/// The last part of a key that no object has: it is read where there is no other, and written to where nothing is written.
const NO_SUCH_KEY: &str = "connection-operator/no-such-object";

/// An upload that was never begun.
const NO_SUCH_UPLOAD: &str = "connection-operator-no-such-upload";

/// What a service says of an object that does not exist.
const ABSENT: &str = "NoSuchKey";

const NOTHING_TO_READ: &str = "put an object below the prefix: this system tells everybody who may list that an object does not exist, \
    so only one that does shows the right; or leave Read out of spec.permissions";

/// A bucket, where it is, and what must be permitted in it.
#[derive(Debug)]
pub struct Bucket {
    /// Its name, or the alias of an access point.
    pub name: String,
    /// What the keys of the objects that matter begin with; may be empty.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: Region,
    /// The system, where it is not AWS.
    pub url: Option<String>,
    /// Whether the bucket stands in the path of URLs instead of the host's name.
    pub path_style: bool,
    /// Whether the owner of the keys pays for requests.
    pub requester_pays: bool,
    /// How the system is secured.
    pub tls: Tls,
    /// What must be permitted.
    pub permissions: Vec<Permission>,
}

/// What was found out about the permissions that were asked for.
#[derive(Debug, Default)]
pub struct Rights {
    /// Those that are missing.
    pub denied: Vec<Permission>,
    /// One about which the system said something that is neither yes nor no.
    unclear: Option<(Permission, Refused)>,
}

impl Bucket {
    /// Lists the bucket, which is the login as well, and finds out about each permission. Without keys nothing is signed.
    ///
    /// # Errors
    /// What did not pass, up to a listing that is refused. That a permission is missing is no error yet.
    pub async fn look(&self, net: &Network, keys: Option<&Keys>) -> Result<Rights, Failure> {
        let door = Door::of(net, &self.tls);
        let client = self.client(&door, keys);
        let listed = self.list(&client, &door).await?;
        net.step(Stage::Access);
        let mut rights = Rights::default();
        for permission in &self.permissions {
            let right = match permission {
                // The bucket was listed to see whether it is there.
                Permission::List => Right::Granted,
                Permission::Read => self.may_read(&client, &door, &listed).await?,
                Permission::Write => self.may_write(&client, &door).await?,
            };
            match right {
                Right::Granted => {}
                Right::Denied => rights.denied.push(*permission),
                Right::Unclear(refused) => rights.unclear = Some((*permission, refused)),
            }
        }
        Ok(rights)
    }

    /// Whether that is enough.
    ///
    /// # Errors
    /// `PermissionDenied` with each permission that is missing, else `NotProvable` with one that is unclear.
    pub fn judge(&self, rights: &Rights) -> Result<(), Failure> {
        let Rights { denied, unclear } = rights;
        if !denied.is_empty() {
            return Err(Failure::new(FailureClass::PermissionDenied).about(self.shown()).words(denied));
        }
        match unclear {
            Some((permission, refused)) => {
                let failure = refused.failure_as(FailureClass::NotProvable).about(self.shown());
                let failure = failure.word(permission.as_str());
                Err(if refused.is(ABSENT) { failure.advice(NOTHING_TO_READ) } else { failure })
            }
            None => Ok(()),
        }
    }

    /// A client that goes through `door` and nowhere else.
    fn client(&self, door: &Door, keys: Option<&Keys>) -> Client {
        let connector = SharedHttpConnector::new(door.clone());
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(config::Region::new(self.region.0.clone()))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .identity_cache(IdentityCache::no_cache())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .disable_multi_region_access_points(true)
            // It would ask for a session first, which is another right.
            .disable_s3_express_session_auth(true)
            .force_path_style(self.path_style)
            .interceptor(SameEverywhere);
        if let Some(url) = &self.url {
            config = config.endpoint_url(url);
        }
        config = match keys {
            Some(keys) => config.credentials_provider(call::identity(keys)),
            None => config.allow_no_auth(),
        };
        Client::from_conf(config.build())
    }

    /// Whether the bucket is there and may be listed. It is the first signed request, and so the login.
    async fn list(&self, client: &Client, door: &Door) -> Result<ListObjectsV2Output, Failure> {
        let request = client
            .list_objects_v2()
            .bucket(&self.name)
            // Also an empty one: a policy's condition on it does not hold where the request has none.
            .prefix(&self.prefix)
            .max_keys(1)
            .set_request_payer(self.payer());
        match request.send().await {
            // Every system says whose list it is; the SDK's reader takes any document for a list.
            Ok(listed) if listed.name().is_some() => Ok(listed),
            Ok(_) => Err(Failure::new(FailureClass::ProtocolMismatch)),
            Err(error) => Err(self.explain(&door.refused(&error)?)),
        }
    }

    /// Whether an object can be read: one byte of the one that was listed, or one that does not exist.
    async fn may_read(&self, client: &Client, door: &Door, listed: &ListObjectsV2Output) -> Result<Right, Failure> {
        let first = match listed.contents().first().and_then(|object| object.key()) {
            // No object is called so, and none can be asked for.
            Some("") => return Err(Failure::new(FailureClass::ProtocolMismatch)),
            first => first.map(str::to_owned),
        };
        let request = client
            .get_object()
            .bucket(&self.name)
            .key(first.unwrap_or_else(|| self.absent_key()))
            .range("bytes=0-0")
            .set_request_payer(self.payer());
        match request.send().await {
            Ok(_) => Ok(Right::Granted),
            Err(error) => self.right_to_read(door.refused(&error)?),
        }
    }

    /// What a refused request for an object shows about the right to read.
    fn right_to_read(&self, refused: Refused) -> Result<Right, Failure> {
        let is_one_of = |codes: &[&str]| codes.iter().any(|code| refused.is(code));
        // It is empty, or archived.
        if is_one_of(&["InvalidRange", "InvalidObjectState"]) {
            return Ok(Right::Granted);
        }
        match &self.url {
            // AWS says that there is no such object to those only who may read and "also" list ("GetObject" of the API Reference).
            None if is_one_of(&[ABSENT]) => Ok(Right::Granted),
            // Others say so to everybody who may list: Ceph to all, MinIO to those without keys.
            Some(_) if is_one_of(&[ABSENT]) => Ok(Right::Unclear(refused)),
            _ => self.right(refused),
        }
    }

    /// Whether an object could be written: an upload is completed that was never begun. Who may not write is told so first.
    async fn may_write(&self, client: &Client, door: &Door) -> Result<Right, Failure> {
        let part = CompletedPart::builder().part_number(1).e_tag("\"00000000000000000000000000000000\"").build();
        let request = client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(self.absent_key())
            .upload_id(NO_SUCH_UPLOAD)
            .multipart_upload(CompletedMultipartUpload::builder().parts(part).build())
            .set_request_payer(self.payer());
        match request.send().await {
            // There is no such upload, so whoever says this has not looked.
            Ok(_) => Err(Failure::new(FailureClass::ProtocolMismatch)),
            Err(error) => {
                let refused = door.refused(&error)?;
                if refused.is("NoSuchUpload") { Ok(Right::Granted) } else { self.right(refused) }
            }
        }
    }

    /// What a request about a right was refused with: that right, or something else.
    fn right(&self, refused: Refused) -> Result<Right, Failure> {
        match refused.class() {
            FailureClass::PermissionDenied => Ok(Right::Denied),
            _ if refused.leaves_open() => Ok(Right::Unclear(refused)),
            _ => Err(self.explain(&refused)),
        }
    }

    /// What the bucket's answer means.
    fn explain(&self, refused: &Refused) -> Failure {
        let class = refused.class();
        match class {
            // AWS tells everybody whether a bucket exists; others may say this of one that does not.
            FailureClass::PermissionDenied if self.url.is_some() => refused
                .failure_as(FailureClass::TargetNotFoundOrNotPermitted)
                .about(self.shown())
                .advice("create the bucket, correct its name, or let these credentials list it"),
            FailureClass::PermissionDenied if self.permissions.contains(&Permission::List) => {
                refused.failure().about(self.shown()).word(Permission::List.as_str())
            }
            FailureClass::PermissionDenied => refused.failure().about(self.shown()).word("s3:ListBucket"),
            FailureClass::TargetNotFound => refused.failure().about(self.shown()),
            FailureClass::WrongRegion => {
                let failure = refused.failure().about(self.shown());
                match refused.region.as_deref().and_then(Region::named) {
                    Some(region) => failure.word("its region is").code(region),
                    None => failure,
                }
            }
            _ => refused.failure(),
        }
    }

    fn absent_key(&self) -> String {
        format!("{}{NO_SUCH_KEY}", self.prefix)
    }

    fn payer(&self) -> Option<RequestPayer> {
        self.requester_pays.then_some(RequestPayer::Requester)
    }

    /// The bucket, as messages call it.
    pub fn shown(&self) -> Setting {
        Setting::from_spec(format!("bucket {}", self.name))
    }
}

/// What a request showed about a right.
#[derive(Debug, PartialEq, Eq)]
enum Right {
    Granted,
    Denied,
    /// The system said something that is neither.
    Unclear(Refused),
}

/// Whether a bucket can have this name, or an access point this alias.
pub fn is_name(name: &str) -> bool {
    (3..=255).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// The sentence for a bucket that another kind of login is needed for, which the SDK does not sign requests to.
pub const ENDING: &str =
    "a bucket must not end in --x-s3, --xa-s3 or --op-s3: directory buckets and buckets on Outposts are not supported";

/// Whether a bucket's name ends as those of [`ENDING`] do.
pub fn has_ending(name: &str) -> bool {
    ["--x-s3", "--xa-s3", "--op-s3"].iter().any(|ending| name.ends_with(ending))
}

/// Whether keys can begin with this, which is not nothing.
pub fn is_prefix(prefix: &str) -> bool {
    !prefix.is_empty() && !prefix.contains(char::is_control)
}

/// `s3://NAME/PREFIX`, for people.
pub fn uri(name: &str, prefix: Option<&str>) -> String {
    let prefix = prefix.map(|prefix| prefix.split('/').map(text::encode).collect::<Vec<_>>().join("/"));
    let prefix = prefix.map(|prefix| format!("/{prefix}")).unwrap_or_default();
    format!("s3://{}{prefix}", text::encode(name))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::failure::Reason;

    /// A bucket of AWS, or with `url` of another system.
    fn bucket(url: Option<&str>, permissions: &[Permission]) -> Bucket {
        Bucket {
            name: "orders".to_owned(),
            prefix: String::new(),
            region: Region("eu-central-1".to_owned()),
            url: url.map(str::to_owned),
            path_style: false,
            requester_pays: false,
            tls: Tls::default(),
            permissions: permissions.to_vec(),
        }
    }

    fn refused(status: u16, code: &str) -> Refused {
        Refused {
            status: StatusCode::from_u16(status).unwrap(),
            code: Some(code.to_owned()),
            region: None,
            cause: None,
        }
    }

    #[test]
    fn that_an_object_is_absent_shows_the_right_to_read_at_aws_only() {
        let (amazon, other) =
            (bucket(None, &[Permission::Read]), bucket(Some("https://minio:9000"), &[Permission::Read]));
        let absent = || refused(404, "NoSuchKey");
        assert_eq!(amazon.right_to_read(absent()).unwrap(), Right::Granted);
        assert_eq!(other.right_to_read(absent()).unwrap(), Right::Unclear(absent()));
        for bucket in [amazon, other] {
            assert_eq!(bucket.right_to_read(refused(416, "InvalidRange")).unwrap(), Right::Granted);
            assert_eq!(bucket.right_to_read(refused(403, "InvalidObjectState")).unwrap(), Right::Granted);
            assert_eq!(bucket.right_to_read(refused(403, "AccessDenied")).unwrap(), Right::Denied);
            assert!(bucket.right_to_read(refused(503, "SlowDown")).is_err());
        }
    }

    #[test]
    fn who_may_not_list_a_bucket_of_aws_is_told_which_right_is_missing() {
        let denied = refused(403, "AccessDenied");
        for (permissions, word) in
            [(&[Permission::List, Permission::Read][..], "List"), (&[Permission::Read], "s3:ListBucket")]
        {
            let failure = bucket(None, permissions).explain(&denied);
            assert_eq!(failure.reason(), Reason::PermissionDenied);
            let expected = format!("not permitted on bucket orders (AccessDenied, {word})");
            assert!(failure.message().starts_with(&expected), "{}", failure.message());
            let elsewhere = bucket(Some("https://minio:9000"), permissions).explain(&denied);
            assert_eq!(elsewhere.reason(), Reason::TargetNotFoundOrNotPermitted);
        }
    }
}
