//! What the codes of a name node and of Kerberos mean. It decides about words and numbers, and does no I/O.

use crate::{
    connections::family::hosts::Idle,
    failure::{Code, Failure, FailureClass, Stage},
};

/// When an exception came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Before the name node has let anybody in, who says a name only.
    SimpleLogin,
    /// The same, of who logs in by Kerberos.
    KerberosLogin,
    /// In answer to a question.
    Question,
}

/// What an exception means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This name node is idle: another one may serve.
    Idle(Idle, Failure),
    /// It is its answer.
    Final(Failure),
}

/// The exceptions that are known, as messages call them, and what each means in answer to a question.
const EXCEPTIONS: [(&str, &str, FailureClass); 18] = {
    use FailureClass::{
        AuthenticationMethodNotSupported, PermissionDenied, ProtocolMismatch, ServerUnavailable, TargetNotFound,
        TargetUnavailable,
    };
    [
        ("org.apache.hadoop.ipc.StandbyException", "StandbyException", ServerUnavailable),
        ("org.apache.hadoop.ipc.ObserverRetryOnActiveException", "ObserverRetryOnActiveException", ServerUnavailable),
        ("org.apache.hadoop.ipc.RetriableException", "RetriableException", ServerUnavailable),
        ("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "SafeModeException", ServerUnavailable),
        (
            "org.apache.hadoop.hdfs.server.federation.router.NoNamenodesAvailableException",
            "NoNamenodesAvailableException",
            ServerUnavailable,
        ),
        ("org.apache.hadoop.security.AccessControlException", "AccessControlException", PermissionDenied),
        ("org.apache.hadoop.security.authorize.AuthorizationException", "AuthorizationException", PermissionDenied),
        ("javax.security.sasl.SaslException", "SaslException", AuthenticationMethodNotSupported),
        ("org.ietf.jgss.GSSException", "GSSException", AuthenticationMethodNotSupported),
        (
            "org.apache.hadoop.security.token.SecretManager$InvalidToken",
            "InvalidToken",
            AuthenticationMethodNotSupported,
        ),
        ("java.io.FileNotFoundException", "FileNotFoundException", TargetNotFound),
        ("org.apache.hadoop.fs.ParentNotDirectoryException", "ParentNotDirectoryException", TargetNotFound),
        ("org.apache.hadoop.fs.InvalidPathException", "InvalidPathException", TargetNotFound),
        ("org.apache.hadoop.hdfs.protocol.UnresolvedPathException", "UnresolvedPathException", TargetUnavailable),
        ("org.apache.hadoop.ipc.RPC$VersionMismatch", "VersionMismatch", ProtocolMismatch),
        ("org.apache.hadoop.ipc.RpcNoSuchProtocolException", "RpcNoSuchProtocolException", ProtocolMismatch),
        ("org.apache.hadoop.ipc.RpcNoSuchMethodException", "RpcNoSuchMethodException", ProtocolMismatch),
        ("org.apache.hadoop.ipc.RpcServerException", "RpcServerException", ServerUnavailable),
    ]
};

/// What an exception of the class `name` means.
pub(super) fn exception(name: &str, when: When) -> Verdict {
    let Some((_, word, class)) = EXCEPTIONS.iter().find(|(known, _, _)| *known == name) else {
        return Verdict::Final(Failure::new(FailureClass::ServerUnavailable).code(Code::Known("unlisted code")));
    };
    let of = |class| Failure::new(class).code(Code::Known(word));
    let failure = match (*word, when) {
        ("StandbyException" | "ObserverRetryOnActiveException", _) => {
            let failure = of(*class).advice("name all name nodes of the name service in spec.hdfs.nameNodes");
            return Verdict::Idle(Idle::Standby, failure);
        }
        // Nobody is asked twice to take a ticket.
        ("RetriableException", When::SimpleLogin | When::Question) => {
            return Verdict::Idle(Idle::Starting, of(*class));
        }
        ("AccessControlException", When::SimpleLogin) => of(FailureClass::AuthenticationMethodNotSupported)
            .advice("set spec.hdfs.kerberos: these name nodes do not believe a name"),
        // The key is right, since the KDC has given a ticket: so it is no rejection, which every other Connection would take over.
        ("SaslException" | "GSSException" | "AccessControlException", When::KerberosLogin) => {
            of(FailureClass::AuthenticationMethodNotSupported).word("it does not take the ticket").advice(
                "check that the keytab of the name node is not older than its keys, that clocks agree, and its \
                 hadoop.security.auth_to_local",
            )
        }
        // Nobody has logged in, so nothing is known about what a user may do.
        (_, When::KerberosLogin) if class.row().stage == Some(Stage::Access) => of(FailureClass::ServerUnavailable),
        ("AuthorizationException", _) => of(*class)
            .advice("let the user use this service at the name node (hadoop-policy.xml), or impersonate whom it names"),
        ("ParentNotDirectoryException", _) => of(*class).advice("correct the path: a part of it is a file"),
        ("UnresolvedPathException", _) => of(*class).advice("name the path that the link leads to"),
        ("RpcNoSuchProtocolException", _) => {
            of(*class).word("it is no name node").advice("name the port of the name node's RPC, often 8020 or 9000")
        }
        ("SafeModeException", _) => of(*class).advice("wait, or let the name node leave safe mode"),
        _ => of(*class),
    };
    Verdict::Final(failure)
}

/// The first number of MIT Kerberos' table of errors, as GSSAPI shows it (its `krb5_err.et`).
const KERBEROS: u32 = 0x96c7_3a00;

/// What a minor code of GSSAPI means. The ones below 128 are sent by a key distribution centre (RFC 4120, 7.5.9), the others are
/// the library's.
pub(super) fn kerberos(minor: u32) -> Failure {
    use FailureClass as F;
    let Some(number) = minor.checked_sub(KERBEROS).filter(|number| *number < 256) else {
        return Failure::new(F::ChildFailed).word("GSSAPI").code(Code::Number(minor.into())).advice(CHECK);
    };
    let of = |class, word| Failure::new(class).word(word).code(Code::Number(number.into()));
    match number {
        // KDC_ERR_NAME_EXP, KDC_ERR_KEY_EXPIRED
        1 => of(F::CredentialsExpired, "the principal has expired").advice("renew the principal at the KDC"),
        23 => of(F::CredentialsExpired, "the key has expired").advice("change the key at the KDC and renew the keytab"),
        // KDC_ERR_C_PRINCIPAL_UNKNOWN
        6 => of(F::WrongCredentials, "the KDC does not know the principal")
            .advice("correct spec.hdfs.kerberos.principal or its realm, or create the principal"),
        // KDC_ERR_S_PRINCIPAL_UNKNOWN
        7 => of(F::AuthenticationMethodNotSupported, "the KDC does not know the principal of the name node")
            .advice("name the name node by the host of its principal, or set spec.hdfs.kerberos.serverPrincipal"),
        // KDC_ERR_SERVICE_EXP, KDC_ERR_SERVICE_REVOKED, KDC_ERR_SERVICE_NOTYET
        2 | 19 | 22 => of(F::AuthenticationMethodNotSupported, "the principal of the name node is not valid")
            .advice("renew or unlock the principal of the name node at the KDC"),
        // KDC_ERR_CLIENT_REVOKED
        18 => of(F::AccountLocked, "the principal is locked or has expired").advice("unlock the principal at the KDC"),
        // KDC_ERR_CLIENT_NOTYET
        21 => of(F::WrongCredentials, "the principal is not valid yet"),
        // KDC_ERR_POLICY, KDC_ERR_BADOPTION
        12 | 13 => of(F::WrongCredentials, "the policy of the KDC forbids it")
            .advice("let the principal ask for tickets of the name node at the KDC"),
        // KDC_ERR_PREAUTH_FAILED, KRB_AP_ERR_BAD_INTEGRITY
        24 | 31 => of(F::WrongCredentials, "the key does not fit")
            .advice("export the keytab anew: the key at the KDC is another one"),
        // KDC_ERR_ETYPE_NOSUPP, and the library's words for the same
        14 | 150 | 236 | 237 => of(F::AuthenticationMethodNotSupported, "no kind of key in common")
            .advice("export the keytab with aes256-cts-hmac-sha1-96, and allow it for both principals at the KDC"),
        // KDC_ERR_PADATA_TYPE_NOSUPP, KDC_ERR_PREAUTH_REQUIRED and the library's words for them
        16 | 25 | 91 | 208 | 210 => of(F::AuthenticationMethodNotSupported, "the KDC asks for another kind of proof")
            .advice("let the principal log in by its key alone (encrypted timestamp) at the KDC"),
        // KRB_AP_ERR_SKEW, KRB5_KDCREP_SKEW, KRB_AP_ERR_TKT_NYV
        37 | 148 | 33 => of(F::ClockSkewed, "Kerberos").advice("synchronise the clocks of the nodes and of the KDC"),
        // KRB_AP_ERR_TKT_EXPIRED
        32 => of(F::ClockSkewed, "the ticket has expired already")
            .advice("synchronise the clocks of the nodes and of the KDC"),
        // KDC_ERR_SVC_UNAVAILABLE
        29 => of(F::ServerUnavailable, "the KDC cannot serve now"),
        // KRB5_REALM_UNKNOWN, KRB5_KDC_UNREACH, KRB5_REALM_CANT_RESOLVE: the relay knows why, where it is the network.
        154 | 156 | 220 => of(F::ProtocolMismatch, "the KDC gives no answer that can be read"),
        // KRB5_KT_NOTFOUND, KRB5_KT_END
        181 | 182 => of(F::CredentialsMalformed, "keytab")
            .advice("export a keytab that has a key for spec.hdfs.kerberos.principal"),
        // KRB5_KT_BADNAME, KRB5_KT_UNKNOWN_TYPE, KRB5_KEYTAB_BADVNO, KRB5_KT_FORMAT
        179 | 180 | 213 | 235 => {
            of(F::CredentialsMalformed, "keytab").advice("store the bytes of an MIT keytab as they are")
        }
        // KRB_AP_WRONG_PRINC, KRB5_KDCREP_MODIFIED, KRB_AP_ERR_MODIFIED, KRB_AP_ERR_MUT_FAIL, KRB5_MUTUAL_FAILED
        41 | 46 | 144 | 147 | 158 => {
            of(F::ProtocolMismatch, "it does not prove that it is who it says").advice("look at who answers there")
        }
        // KDC_ERR_WRONG_REALM
        68 => of(F::WrongCredentials, "the principal is of another realm").advice("correct spec.hdfs.kerberos.realm"),
        // KRB_ERR_GENERIC: the KDC's own trouble.
        60 => of(F::ServerUnavailable, "the KDC fails").advice("look at the log of the KDC"),
        // Only what is listed is a rejection: one is not tried again for hours.
        ..128 => of(F::ServerUnavailable, "Kerberos").advice(CHECK),
        _ => of(F::ChildFailed, "Kerberos").advice(CHECK),
    }
}

/// What to do about a code that nobody has foreseen.
const CHECK: &str = "look the number up in the table of krb5 errors, and at the log of the KDC";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exception_has_its_meaning() {
        use FailureClass as F;
        let plain = |name, when| match exception(name, when) {
            Verdict::Idle(idle, failure) => (Some(idle), failure.class()),
            Verdict::Final(failure) => (None, failure.class()),
        };
        for (name, word, class) in EXCEPTIONS {
            let (idle, seen) = plain(name, When::Question);
            assert_eq!(seen, class, "{name}");
            let expected = match word {
                "StandbyException" | "ObserverRetryOnActiveException" => Some(Idle::Standby),
                "RetriableException" => Some(Idle::Starting),
                _ => None,
            };
            assert_eq!(idle, expected, "{name}");
            assert_eq!(plain(name, When::SimpleLogin).0, expected, "{name}");
            let (idle, seen) = plain(name, When::KerberosLogin);
            assert_eq!(idle, expected.filter(|idle| *idle == Idle::Standby), "{name}: nobody logs in twice");
            // Whoever has not proven who they are is not believed that we have; and the key is judged by the KDC alone.
            assert_ne!(seen.row().stage, Some(Stage::Access), "{name}");
            assert!(!seen.row().reason.is_rejection(), "{name}");
            let message = match exception(name, When::Question) {
                Verdict::Idle(_, failure) | Verdict::Final(failure) => failure.message(),
            };
            assert!(message.contains(word) && !message.contains("org."), "{message}");
        }
        let denied = "org.apache.hadoop.security.AccessControlException";
        assert_eq!(plain(denied, When::SimpleLogin).1, F::AuthenticationMethodNotSupported);
        assert_eq!(plain(denied, When::KerberosLogin).1, F::AuthenticationMethodNotSupported);
        let (_, unlisted) = plain("hunter2", When::Question);
        assert_eq!(unlisted, F::ServerUnavailable);
        assert!(!format!("{:?}", exception("hunter2", When::Question)).contains("hunter2"));
    }

    #[test]
    fn every_number_of_kerberos_has_its_meaning() {
        use FailureClass as F;
        for (number, class) in [
            (1, F::CredentialsExpired),
            (2, F::AuthenticationMethodNotSupported),
            (6, F::WrongCredentials),
            (7, F::AuthenticationMethodNotSupported),
            (12, F::WrongCredentials),
            (14, F::AuthenticationMethodNotSupported),
            (18, F::AccountLocked),
            (19, F::AuthenticationMethodNotSupported),
            (21, F::WrongCredentials),
            (22, F::AuthenticationMethodNotSupported),
            (23, F::CredentialsExpired),
            (24, F::WrongCredentials),
            (25, F::AuthenticationMethodNotSupported),
            (29, F::ServerUnavailable),
            (31, F::WrongCredentials),
            (32, F::ClockSkewed),
            (37, F::ClockSkewed),
            (41, F::ProtocolMismatch),
            (60, F::ServerUnavailable),
            (61, F::ServerUnavailable),
            (68, F::WrongCredentials),
            (127, F::ServerUnavailable),
            (128, F::ChildFailed),
            (148, F::ClockSkewed),
            (156, F::ProtocolMismatch),
            (181, F::CredentialsMalformed),
            (235, F::CredentialsMalformed),
            (255, F::ChildFailed),
        ] {
            let failure = kerberos(KERBEROS + number);
            assert_eq!(failure.class(), class, "{number}: {}", failure.message());
            assert!(failure.message().contains(&number.to_string()), "{}", failure.message());
        }
        // The number of a login by a key that was changed, as it was seen.
        assert_eq!(kerberos(2_529_638_943).class(), F::WrongCredentials);
        // Not in the table at all.
        for number in [0, 100_001, KERBEROS - 1, KERBEROS + 256, u32::MAX] {
            assert_eq!(kerberos(number).class(), F::ChildFailed, "{number}");
        }
    }
}
