//! Whether the API server serves a kind at all. A 404 alone does not say so: a proxy gives one too, and a kind that is not
//! served holds no deletion.

use std::time::Duration;

use kube::Client;
use tokio::time::timeout;

use super::extract::Kind;

/// Longest time for the whole look.
const DEADLINE: Duration = Duration::from_secs(10);

/// What discovery says about a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is served at some version.
    Somewhere,
    /// Every version of its group was looked at, and none serves it.
    Nowhere,
    /// Discovery is not complete.
    Unknown,
}

/// Asks discovery whether `kind` is served at any version.
pub async fn served(client: &Client, kind: &Kind) -> Served {
    match timeout(DEADLINE, look(client, kind)).await {
        Ok(Ok(served)) => served,
        Ok(Err(_)) | Err(_) => Served::Unknown,
    }
}

async fn look(client: &Client, kind: &Kind) -> kube::Result<Served> {
    let resource = kind.api_resource();
    let mut lists = Vec::new();
    if resource.group.is_empty() {
        for version in client.list_core_api_versions().await?.versions {
            lists.push(client.list_core_api_resources(&version).await?);
        }
        if lists.is_empty() {
            return Ok(Served::Unknown);
        }
    } else {
        let groups = client.list_api_groups().await?.groups;
        if groups.is_empty() {
            // Every API server has groups, so this is none.
            return Ok(Served::Unknown);
        }
        let versions = groups.into_iter().filter(|group| group.name == resource.group).flat_map(|group| group.versions);
        for version in versions {
            lists.push(client.list_api_group_resources(&version.group_version).await?);
        }
    }
    let is_served = lists.iter().flat_map(|list| &list.resources).any(|served| served.kind == resource.kind);
    Ok(if is_served { Served::Somewhere } else { Served::Nowhere })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::fake::{self, Answer},
        *,
    };

    fn resources(kinds: &[&str]) -> Answer {
        let resources: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({"name": "n", "singularName": "", "namespaced": true, "kind": kind, "verbs": []}))
            .collect();
        Answer::Json(json!({"groupVersion": "v", "resources": resources}))
    }

    async fn look(
        kind: Kind,
        groups: &'static [&'static str],
        resources: impl Fn() -> Answer + Send + Sync + 'static,
    ) -> Served {
        let (client, _) = fake::client(move |asked, _| match asked.path.as_str() {
            "/api" => Answer::Json(json!({"versions": ["v1"], "serverAddressByClientCIDRs": []})),
            "/apis" => Answer::Json(json!({"groups": groups.iter().map(|name| json!({
                "name": name,
                "versions": [{"groupVersion": format!("{name}/v1"), "version": "v1"}],
            })).collect::<Vec<_>>()})),
            "/api/v1" | "/apis/apps/v1" => resources(),
            _ => Answer::Refused(404, "NotFound"),
        });
        served(&client, &kind).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_is_served_nowhere_only_if_discovery_is_complete() {
        for kind in [Kind::Deployment, Kind::Pod] {
            assert_eq!(look(kind.clone(), &["apps"], || resources(&["Pod", "Deployment"])).await, Served::Somewhere);
            assert_eq!(look(kind.clone(), &["apps"], || resources(&["Other"])).await, Served::Nowhere);
            assert_eq!(
                look(kind.clone(), &["apps"], || Answer::Refused(503, "ServiceUnavailable")).await,
                Served::Unknown
            );
            assert_eq!(look(kind, &["apps"], || Answer::Silence).await, Served::Unknown);
        }
        assert_eq!(look(Kind::Deployment, &["batch"], || Answer::Silence).await, Served::Nowhere);
        assert_eq!(look(Kind::Deployment, &[], || Answer::Silence).await, Served::Unknown);
        let (client, _) = fake::client(|_, _| Answer::Refused(404, "NotFound"));
        assert_eq!(served(&client, &Kind::Pod).await, Served::Unknown, "a proxy that knows nothing");
    }
}
