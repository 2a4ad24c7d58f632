//! Who logs in, and how, out of what the Secret holds. Pure.
//!
//! A connection string names hosts; it is refused where they are others than the spec's, since what it holds would be sent to a
//! host that it was not made for.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::sas::Sas;
use crate::{
    connections::{
        Permission,
        family::azure::{Cloud, Principal},
        fields::HttpUrl,
    },
    failure::{Failure, FailureClass, Setting},
    secret::{Credentials, SecretValue},
};

/// The canonical key of the account's key.
pub const ACCOUNT_KEY: &str = "accountKey";
/// The canonical key of a SAS.
pub const SAS_TOKEN: &str = "sasToken";
/// The canonical key of a text with one of these and more in it.
pub const CONNECTION_STRING: &str = "connectionString";

/// Who logs in.
pub enum Login {
    /// Who has the account's key, which signs and is not sent.
    Key(SecretValue),
    /// Whoever shows this token.
    Sas(Sas),
    /// An application, which asks its directory for a token.
    Principal(Principal),
}

/// What the spec says that the Secret may say too.
pub struct Place<'a> {
    /// The account.
    pub account: &'a str,
    /// Its cloud.
    pub cloud: Cloud,
    /// Where the account is: at its vendor's, and at the spec's endpoint.
    pub urls: Vec<&'a str>,
    /// The namespace of the Connection.
    pub namespace: &'a str,
}

impl Login {
    /// Takes the login out of what was selected from the Secret that `about` names.
    ///
    /// # Errors
    /// `CredentialsMalformed` where a value cannot be used, or is made for somewhere else.
    pub fn take(credentials: &mut Credentials, about: &Setting, place: &Place<'_>) -> Result<Self, Failure> {
        if let Some(key) = credentials.take_printable(ACCOUNT_KEY, about)? {
            return Self::of_key(&key).map_err(|advice| malformed(ACCOUNT_KEY, about, advice));
        }
        if let Some(token) = credentials.take_printable(SAS_TOKEN, about)? {
            return Self::of_sas(&token).map_err(|advice| malformed(SAS_TOKEN, about, advice));
        }
        if let Some(text) = credentials.take_printable(CONNECTION_STRING, about)? {
            return Self::of_string(&text, place).map_err(|advice| malformed(CONNECTION_STRING, about, advice));
        }
        let principal = Principal::take(credentials, about, place.cloud)?;
        principal.map(Self::Principal).ok_or_else(|| Credentials::missing(ACCOUNT_KEY, about))
    }

    /// Whether it is a SAS.
    pub const fn is_sas(&self) -> bool {
        matches!(self, Self::Sas(_))
    }

    /// Whether what it sends is enough for whoever hears it to log in, too.
    pub const fn is_readable(&self) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Sas(_) | Self::Principal(_) => true,
        }
    }

    /// Whether no number of rejections locks it: a key and a SAS are no accounts of anybody.
    pub const fn cannot_lock(&self) -> bool {
        match self {
            Self::Key(_) | Self::Sas(_) => true,
            Self::Principal(_) => false,
        }
    }

    /// Whether it is known without asking that it does not let do this.
    pub fn denies(&self, permission: Permission) -> bool {
        match self {
            Self::Sas(sas) => sas.denies(permission),
            Self::Key(_) | Self::Principal(_) => false,
        }
    }

    /// Who it is, beyond the account.
    pub fn who(&self) -> Vec<&[u8]> {
        match self {
            Self::Key(_) | Self::Sas(_) => Vec::new(),
            Self::Principal(principal) => principal.who().to_vec(),
        }
    }

    fn of_key(text: &SecretValue) -> Result<Self, &'static str> {
        let key = BASE64_STANDARD.decode(text.expose()).ok().filter(|key| !key.is_empty());
        key.map(|key| Self::Key(SecretValue::new(key))).ok_or("the key of an account is base64, as it is shown")
    }

    fn of_sas(text: &SecretValue) -> Result<Self, &'static str> {
        let sas = Sas::read(text.text().unwrap_or_default());
        sas.map(Self::Sas).map_err(super::sas::Unusable::advice)
    }

    /// The key or the SAS in a connection string ("Configure Azure Storage connection strings").
    fn of_string(text: &SecretValue, place: &Place<'_>) -> Result<Self, &'static str> {
        let parts = || text.text().unwrap_or_default().split(';').filter_map(|part| part.split_once('='));
        let part = |wanted: &str| {
            parts()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value)
                .filter(|v| !v.is_empty())
        };
        if part("UseDevelopmentStorage").is_some() {
            return Err("it is about the emulator of a developer's own machine; name an account");
        }
        if part("AccountName").is_some_and(|account| account != place.account) {
            return Err("it is about another account than azureBlob.account");
        }
        let suffix = part("EndpointSuffix").unwrap_or("core.windows.net");
        let host = match part("BlobEndpoint") {
            Some(url) => host_of(url, place.namespace),
            None => Some(format!("{}.blob.{suffix}", place.account)),
        };
        let hosts = || place.urls.iter().filter_map(|url| host_of(url, place.namespace));
        // A name of DNS is the same in capitals.
        if !host.is_some_and(|host| hosts().any(|own| own.eq_ignore_ascii_case(&host))) {
            return Err(
                "it is about another host than the account's: correct it, azureBlob.cloud or azureBlob.endpoint",
            );
        }
        let value = |name| part(name).map(|value| SecretValue::new(value.as_bytes().to_vec()));
        match (value("AccountKey"), value("SharedAccessSignature")) {
            (Some(key), None) => Self::of_key(&key),
            (None, Some(token)) => Self::of_sas(&token),
            (None, None) | (Some(_), Some(_)) => {
                Err("it must hold either AccountKey or SharedAccessSignature, and not both")
            }
        }
    }
}

/// The host that requests to a URL go to; `None` where it is no URL of a service.
fn host_of(url: &str, namespace: &str) -> Option<String> {
    let url = Some(HttpUrl(url.to_owned())).filter(HttpUrl::is_valid)?;
    Some(HttpUrl(url.complete(namespace)).parts().host.to_owned())
}

fn malformed(key: &'static str, about: &Setting, advice: &'static str) -> Failure {
    Failure::new(FailureClass::CredentialsMalformed).about(about.clone()).word(key).advice(advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Reason;

    const URL: &str = "https://orders.blob.core.windows.net";

    fn take(key: &'static str, value: &str, urls: &[&str]) -> Result<Login, Failure> {
        let about = Setting::from_spec("Secret orders");
        let place = Place { account: "orders", cloud: Cloud::Public, urls: urls.to_vec(), namespace: "shop" };
        let method = crate::secret::Method { name: "it", required: vec![key], optional: Vec::new() };
        let data = [(key.to_owned(), SecretValue::new(value.as_bytes().to_vec()))];
        let keys = crate::connections::azureblob::ABOUT.keys;
        let mut credentials =
            Credentials::select(data.into(), &std::collections::BTreeMap::new(), keys, &[method], &about)?;
        Login::take(&mut credentials, &about, &place)
    }

    fn string(value: &str, urls: &[&str]) -> Result<Login, Failure> {
        take(CONNECTION_STRING, value, urls)
    }

    #[test]
    fn a_key_is_read_as_the_portal_shows_it() {
        let Ok(Login::Key(key)) = take(ACCOUNT_KEY, "aHVudGVyMg==", &[URL]) else { panic!("a key") };
        assert_eq!(key.text(), Some("hunter2"));
    }

    #[test]
    fn a_connection_string_holds_a_key_or_a_sas() {
        let Ok(Login::Key(key)) = string(
            "DefaultEndpointsProtocol=https;AccountName=orders;AccountKey=aHVudGVyMg==;EndpointSuffix=core.windows.net",
            &[URL],
        ) else {
            panic!("a key")
        };
        assert_eq!(key.text(), Some("hunter2"));
        let Ok(Login::Sas(sas)) = string(
            "BlobEndpoint=https://orders.blob.core.windows.net/;QueueEndpoint=https://orders.queue.core.windows.net/;\
             SharedAccessSignature=sv=2023-11-03&ss=b&srt=co&sp=rl&se=2027-01-01&sig=a%3D;",
            &[URL],
        ) else {
            panic!("a SAS")
        };
        assert_eq!(sas.query(), "sv=2023-11-03&ss=b&srt=co&sp=rl&se=2027-01-01&sig=a%3D");
    }

    #[test]
    fn a_connection_string_is_taken_for_the_hosts_of_the_spec_and_no_others() {
        let named = |url: &str| format!("AccountName=orders;AccountKey=aHVudGVyMg==;BlobEndpoint={url}");
        let emulator = "http://azurite.shop.svc:10000/orders";
        for (url, urls) in [
            ("https://orders.blob.core.windows.net", &[URL][..]),
            ("https://Orders.Blob.Core.Windows.Net/", &[URL]),
            ("http://azurite:10000/orders", &[URL, emulator]),
            ("https://orders.blob.core.windows.net", &[URL, emulator]),
        ] {
            assert!(string(&named(url), urls).is_ok(), "{url}");
        }
        for (text, urls) in [
            (named("https://hunter2.example.com"), &[URL][..]),
            (named("https://orders.blob.core.windows.net.hunter2.example"), &[URL]),
            (named("https://hunter2@orders.blob.core.windows.net"), &[URL]),
            (named("hunter2"), &[URL]),
            (named("http://azurite:10000/orders"), &[URL]),
            ("AccountName=orders;AccountKey=aHVudGVyMg==;EndpointSuffix=hunter2.example".to_owned(), &[URL]),
            // Without a suffix it is about the public cloud.
            ("AccountName=orders;AccountKey=aHVudGVyMg==".to_owned(), &["https://orders.blob.core.chinacloudapi.cn"]),
        ] {
            let failure = string(&text, urls).err().unwrap_or_else(|| panic!("{text}"));
            let message = failure.message();
            assert_eq!(failure.reason(), Reason::CredentialsMalformed, "{message}");
            assert!(message.contains("another host") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_malformed_and_not_shown() {
        for (key, value, word) in [
            (ACCOUNT_KEY, "hunter2!", "base64"),
            (ACCOUNT_KEY, "aHVudGVyMg==\n", "printable"),
            (SAS_TOKEN, "https://orders/hunter2?sig=x", "without the URL"),
            (SAS_TOKEN, "sv=1&sig=hunter2\n", "printable"),
            (CONNECTION_STRING, "hunter2", "either AccountKey"),
            (CONNECTION_STRING, "UseDevelopmentStorage=true", "emulator"),
            (CONNECTION_STRING, "AccountName=hunter2;AccountKey=aHVudGVyMg==", "another account"),
            (CONNECTION_STRING, "AccountName=orders;AccountKey=hunter2!", "base64"),
            (CONNECTION_STRING, "AccountKey=aA==;SharedAccessSignature=sv=1&sr=c&sig=hunter2", "not both"),
            (CONNECTION_STRING, "SharedAccessSignature=hunter2", "sv="),
        ] {
            let failure = take(key, value, &[URL]).err().unwrap_or_else(|| panic!("{value}"));
            let message = failure.message();
            assert_eq!(failure.reason(), Reason::CredentialsMalformed, "{message}");
            assert!(message.contains(key) && message.contains(word) && !message.contains("hunter2"), "{message}");
        }
    }
}
