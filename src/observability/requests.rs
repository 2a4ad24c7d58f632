//! What a request to the Kubernetes API is called in metrics: a verb, a resource and a code, each out of a fixed list of
//! words. It looks at nothing but method, path, query and status.

use http::{Method, StatusCode, Uri};

/// What is not in a list.
const OTHER: &str = "other";

/// Resources that have a name of their own; all else is `other`.
const RESOURCES: [&str; 25] = [
    "configmaps",
    "connections",
    "connections/status",
    "cronjobs",
    "customresourcedefinitions",
    "daemonsets",
    "deployments",
    "endpointslices",
    "events",
    "jobs",
    "leases",
    "namespaces",
    "persistentvolumeclaims",
    "pods",
    "referencerules",
    "referencerules/status",
    "replicasets",
    "replicationcontrollers",
    "secrets",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "serviceaccounts",
    "services",
    "statefulsets",
    "subjectaccessreviews",
];

/// Codes that have a name of their own; all else counts by its class.
const CODES: [&str; 17] = [
    "101", "200", "201", "400", "401", "403", "404", "405", "409", "410", "415", "422", "429", "500", "502", "503",
    "504",
];

/// The API's verb, in capitals: GET of a collection is LIST or WATCH.
pub(crate) fn verb(method: &Method, uri: &Uri) -> &'static str {
    match *method {
        Method::GET if is_watch(uri) => "WATCH",
        Method::GET if place(uri.path()).is_some_and(|place| place.name.is_none()) => "LIST",
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => OTHER,
    }
}

/// Whether the request's answer is a stream of changes.
pub(crate) fn is_watch(uri: &Uri) -> bool {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    parameters.any(|parameter| matches!(parameter, "watch=true" | "watch=1" | "watch"))
}

/// The resource that a path is about.
pub(crate) fn resource(path: &str) -> &'static str {
    let Some(place) = place(path) else {
        let root = path.trim_matches('/').split('/').next().unwrap_or_default();
        return if matches!(root, "api" | "apis" | "version" | "openapi") { "discovery" } else { OTHER };
    };
    let known_part = |part| RESOURCES.iter().find(|word| word.split_once('/') == Some((place.resource, part))).copied();
    place.part.and_then(known_part).unwrap_or_else(|| known(place.resource))
}

/// `plural` itself where it is in the list, else `other`.
pub(crate) fn known(plural: &str) -> &'static str {
    RESOURCES.iter().find(|word| **word == plural).copied().unwrap_or(OTHER)
}

/// The code of an answer; `none` where there was no answer.
pub(crate) fn code(status: Option<StatusCode>) -> &'static str {
    let Some(status) = status else { return "none" };
    CODES.iter().find(|code| **code == status.as_str()).copied().unwrap_or(match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => OTHER,
    })
}

/// The parts of a path below a group and version.
struct Place<'a> {
    resource: &'a str,
    name: Option<&'a str>,
    part: Option<&'a str>,
}

fn place(path: &str) -> Option<Place<'_>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (["api", _, below @ ..] | ["apis", _, _, below @ ..]) = parts.as_slice() else { return None };
    // `namespaces/x/y` is a resource `y` in the namespace `x`, but for the two parts that a Namespace itself has.
    let below = match below {
        ["namespaces", _, part, ..] if matches!(*part, "status" | "finalize") => below,
        ["namespaces", _, inside @ ..] if !inside.is_empty() => inside,
        _ => below,
    };
    let (resource, rest) = below.split_first()?;
    Some(Place { resource, name: rest.first().copied(), part: rest.get(1).copied() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_called_by_its_resource() {
        for (path, expected) in [
            ("/api/v1/secrets", "secrets"),
            ("/api/v1/namespaces", "namespaces"),
            ("/api/v1/namespaces/secrets", "namespaces"),
            ("/api/v1/namespaces/a/status", "namespaces"),
            ("/api/v1/namespaces/a/secrets/pods", "secrets"),
            ("/apis/apps/v1/deployments", "deployments"),
            ("/apis/apps/v1/namespaces/a/deployments", "deployments"),
            ("/apis/connectivity.dev/v1alpha1/namespaces/a/connections/b", "connections"),
            ("/apis/connectivity.dev/v1alpha1/namespaces/a/connections/b/status", "connections/status"),
            ("/apis/connectivity.dev/v1alpha1/namespaces/a/connections/b/scale", "connections"),
            ("/apis/flink.apache.org/v1beta1/namespaces/a/flinkdeployments", "other"),
            ("/apis", "discovery"),
            ("/api/v1", "discovery"),
            ("/apis/apps/v1", "discovery"),
            ("/version", "discovery"),
            ("/", "other"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[test]
    fn a_get_is_a_list_a_watch_or_a_get() {
        for (uri, expected) in [
            ("/api/v1/secrets?limit=500", "LIST"),
            ("/api/v1/namespaces/a/secrets?labelSelector=watch%3Dtrue", "LIST"),
            ("/api/v1/secrets?resourceVersion=1&watch=true", "WATCH"),
            ("/api/v1/namespaces/a/secrets/b", "GET"),
            ("/api/v1/namespaces/a", "GET"),
            ("/api/v1/namespaces", "LIST"),
            ("/version", "GET"),
        ] {
            assert_eq!(verb(&Method::GET, &uri.parse().unwrap()), expected, "{uri}");
        }
    }

    #[test]
    fn a_code_that_is_not_listed_counts_by_its_class() {
        for (status, expected) in [(Some(200), "200"), (Some(418), "4xx"), (Some(599), "5xx"), (None, "none")] {
            assert_eq!(code(status.map(|s| StatusCode::from_u16(s).unwrap())), expected);
        }
    }
}
