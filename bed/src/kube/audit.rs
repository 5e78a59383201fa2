//! Who asked the API server for what, from its audit log.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Kube;

/// Every request of everybody but the admin and the server itself, without bodies. A request is written
/// down when its answer is complete, a watch when it begins.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: ['system:masters']
- level: None
  users: ['system:apiserver', 'system:anonymous']
- level: Metadata
";

/// A request to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As RBAC calls it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Plural and lower case, such as `secrets`; a subresource follows after a slash. Empty for URLs that
    /// are no objects.
    pub resource: String,
    /// The namespace; empty for all or none.
    pub namespace: String,
    /// The object's name; empty where the request names none.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// The path and query.
    pub uri: String,
}

impl Request {
    /// Whether the request would change something, and did: it asked for a change and was not refused.
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        ) && (200..300).contains(&self.code)
    }
}

impl Kube {
    /// All requests of a user so far, in the order in which they were answered.
    ///
    /// The server writes each down just after it has answered, so a test waits for those it expects.
    /// See [`Identity::username`](super::Identity::username) for the name.
    pub fn requests_by(&self, username: &str) -> Result<Vec<Request>> {
        let path = self.scratch.path().join("audit.log");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut requests = Vec::new();
        for line in whole.lines() {
            let event: Event = serde_json::from_str(line).with_context(|| format!("audit log: {line}"))?;
            let counts = event.stage
                == if event.verb == "watch" {
                    "ResponseStarted"
                } else {
                    "ResponseComplete"
                };
            if counts && event.user.username == username {
                requests.push(event.into());
            }
        }
        Ok(requests)
    }

    /// The requests of a user that changed something, like [`Kube::requests_by`]; but not those by which an instance
    /// that leads shows that it is alive.
    pub fn writes_by(&self, username: &str) -> Result<Vec<Request>> {
        Ok(self
            .requests_by(username)?
            .into_iter()
            .filter(|request| request.is_write() && request.resource != "leases")
            .collect())
    }
}

/// A line of the log, as far as it is of interest (audit.k8s.io/v1 Event).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl From<Event> for Request {
    fn from(event: Event) -> Self {
        let ObjectRef {
            mut resource,
            subresource,
            namespace,
            name,
        } = event.object_ref;
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            verb: event.verb,
            resource,
            namespace,
            name,
            code: event.response_status.code,
            uri: event.uri,
        }
    }
}
