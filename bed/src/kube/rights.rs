//! The rights that Faythe is shipped with: `deploy/rbac.yaml`, under names that let many beds stand side by side.

use std::path::Path;
use std::time::Duration;

use ::kube::api::{Api, PostParams};
use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};

use super::{Identity, Kube};
use crate::until;

/// The API server hears of new rights by a watch, within milliseconds as a rule.
const IN_FORCE: Duration = Duration::from_secs(30);

/// The manifests of `deploy/rbac.yaml` with `name` for the ServiceAccount, its namespace, and all else that is named
/// `faythe` there.
pub fn shipped_rights(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rbac.yaml");
    let rights = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(rights.replace(": faythe\n", &format!(": {name}\n")))
}

impl Kube {
    /// Puts [`shipped_rights`] in force and returns who has them. The namespace `name` must exist.
    pub async fn grant_shipped_rights(&self, name: &str) -> Result<Identity> {
        self.apply(&shipped_rights(name)?).await?;
        let identity = Identity::service_account(name, name);
        let reviews: Api<SubjectAccessReview> = Api::all(self.client().await?);
        // One of each binding.
        for (resource, namespace) in [("events", "default"), ("secrets", name)] {
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: Some(identity.username()),
                    resource_attributes: Some(ResourceAttributes {
                        verb: Some("create".to_owned()),
                        resource: Some(resource.to_owned()),
                        namespace: Some(namespace.to_owned()),
                        ..ResourceAttributes::default()
                    }),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            let what = format!("{} may create {resource}", identity.username());
            until(IN_FORCE, &what, async || {
                let answer = reviews.create(&PostParams::default(), &review).await?;
                Ok(answer.status.is_some_and(|status| status.allowed).then_some(()))
            })
            .await?;
        }
        Ok(identity)
    }
}
