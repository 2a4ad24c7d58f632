//! The annotations and the finalizer of the contract, and how they are read from a Connection.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::Connection;

/// On a Connection: probe now. It is handled when its value differs from the one last seen.
pub const REQUESTED_AT: &str = "connectivity.dev/requested-at";

/// Flux's name for [`REQUESTED_AT`] (`flux reconcile` sets it).
pub const FLUX_REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// On a Connection: `"true"` releases it although it is used.
pub const FORCE_DELETE: &str = "connectivity.dev/force-delete";

/// On any counted object, or its pod template: the Connections of its namespace that it uses, separated by commas.
pub const USES: &str = "connectivity.dev/uses";

/// Holds a Connection while anything uses it.
pub const FINALIZER: &str = "connectivity.dev/in-use";

/// The annotations on a Connection that are looked at.
pub const WATCHED: [&str; 3] = [REQUESTED_AT, FLUX_REQUESTED_AT, FORCE_DELETE];

/// Longest request that is told apart from another, in bytes; `status.lastHandledReconcileAt` has room for no more.
pub const REQUEST_LIMIT: usize = 256;

/// Drops what nobody reads of a Connection's `metadata`: managed fields, labels, and of annotations all but the first
/// [`REQUEST_LIMIT`] bytes of those in [`WATCHED`]. What is kept of a Connection is not as large as its owner likes.
pub fn prune(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.labels = None;
    let Some(annotations) = &mut metadata.annotations else { return };
    annotations.retain(|key, _| WATCHED.contains(&key.as_str()));
    for value in annotations.values_mut() {
        value.truncate(value.floor_char_boundary(REQUEST_LIMIT));
        value.shrink_to_fit();
    }
}

impl Connection {
    /// The newest request to probe now: of the two annotations, the later in text order, cut at [`REQUEST_LIMIT`] bytes.
    pub fn requested_at(&self) -> Option<&str> {
        let annotations = self.annotations();
        let request = [REQUESTED_AT, FLUX_REQUESTED_AT].into_iter().filter_map(|key| annotations.get(key)).max()?;
        Some(&request[..request.floor_char_boundary(REQUEST_LIMIT)])
    }

    /// Whether its owner asks to release it although it is used.
    pub fn is_force_deleted(&self) -> bool {
        self.annotations().get(FORCE_DELETE).is_some_and(|value| value == "true")
    }

    /// Whether it is being deleted.
    pub fn is_marked(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether our finalizer holds it.
    pub fn is_held(&self) -> bool {
        self.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::spec::tests::connection;

    fn annotated(pairs: &[(&str, &str)]) -> Connection {
        let mut connection = connection();
        for (key, value) in pairs {
            connection.annotations_mut().insert((*key).to_owned(), (*value).to_owned());
        }
        connection
    }

    #[test]
    fn of_two_requests_the_later_in_text_order_counts() {
        for (ours, flux, expected) in [("2", "1", "2"), ("1", "2", "2")] {
            let both = annotated(&[(REQUESTED_AT, ours), (FLUX_REQUESTED_AT, flux)]);
            assert_eq!(both.requested_at(), Some(expected));
        }
        assert_eq!(annotated(&[(FLUX_REQUESTED_AT, "1")]).requested_at(), Some("1"));
        assert_eq!(annotated(&[]).requested_at(), None);
    }

    #[test]
    fn a_request_of_any_length_fits_into_its_echo() {
        let long = annotated(&[(REQUESTED_AT, &"ü".repeat(4000))]);
        assert!(long.requested_at().is_some_and(|echo| echo.len() <= REQUEST_LIMIT && echo.starts_with('ü')));
    }

    #[test]
    fn what_is_dropped_of_a_connection_changes_nothing_that_is_read() {
        let long = "t".repeat(REQUEST_LIMIT + 1);
        for pairs in [
            [(REQUESTED_AT, "1"), (FLUX_REQUESTED_AT, "2"), (FORCE_DELETE, "true")],
            [(REQUESTED_AT, &long), (FLUX_REQUESTED_AT, "t"), (FORCE_DELETE, &long)],
            [(REQUESTED_AT, &long), (FLUX_REQUESTED_AT, &long[1..]), ("other", "true")],
        ] {
            let whole = annotated(&pairs);
            let mut pruned = whole.clone();
            prune(&mut pruned.metadata);
            assert_eq!(pruned.requested_at(), whole.requested_at());
            assert_eq!(pruned.is_force_deleted(), whole.is_force_deleted());
            assert!(pruned.annotations().values().all(|value| value.len() <= REQUEST_LIMIT));
        }
        let mut none = connection();
        prune(&mut none.metadata);
        assert_eq!(none.metadata.annotations, None);
    }

    #[test]
    fn only_the_word_true_forces_a_release() {
        for (value, forced) in [("true", true), ("True", false), ("yes", false), ("", false)] {
            assert_eq!(annotated(&[(FORCE_DELETE, value)]).is_force_deleted(), forced, "{value}");
        }
    }
}
