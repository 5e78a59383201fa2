//! Who talks to the API server: kubeconfig files for users and ServiceAccounts.

use std::path::PathBuf;

use ::kube::api::{Api, Patch, PatchParams, PostParams};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::{Value, json};

use super::Kube;
use super::objects::MANAGER;
use crate::proxy::Proxy;
use crate::tls::Pair;

/// Long enough for any test, benchmark or demo.
const TOKEN_LIFETIME_SECS: i64 = 7 * 24 * 3600;

/// Somebody whom the API server knows. Being known gives no rights: those come from RBAC objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A ServiceAccount, known by a token that the API server itself issues.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A user, known by a client certificate.
    User {
        /// The user's name.
        name: String,
        /// A group to which the user belongs.
        group: Option<String>,
    },
}

impl Identity {
    /// A ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// A user without a group.
    pub fn user(name: &str) -> Self {
        Self::User {
            name: name.to_owned(),
            group: None,
        }
    }

    /// The name that RBAC and the audit log use.
    pub fn username(&self) -> String {
        match self {
            Self::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
            Self::User { name, .. } => name.clone(),
        }
    }
}

impl Kube {
    /// Makes a kubeconfig file for somebody; a ServiceAccount that does not exist is created.
    ///
    /// Its namespace must exist. The file is made once, so that later calls need no server, and stays as long
    /// as this value.
    pub async fn kubeconfig_for(&self, identity: &Identity) -> Result<PathBuf> {
        let file = identity.username().replace([':', '/'], "-");
        let path = self.kubeconfig_path(&file);
        if path.exists() {
            return Ok(path);
        }
        let credentials = match identity {
            Identity::ServiceAccount { namespace, name } => {
                json!({ "token": self.token(namespace, name).await? })
            }
            Identity::User { name, group } => self.credentials_of(name, group.as_deref())?,
        };
        self.write_kubeconfig(&file, credentials)
    }

    /// The same with `proxy` on the way.
    pub async fn kubeconfig_through(&self, proxy: &Proxy, identity: &Identity) -> Result<PathBuf> {
        let direct = self.kubeconfig_for(identity).await?;
        let mut file: Value = serde_json::from_str(&std::fs::read_to_string(&direct)?)?;
        file["clusters"][0]["cluster"] = json!({
            "server": proxy.url_of(&self.url())?,
            "certificate-authority-data": STANDARD.encode(proxy.https_roots()),
        });
        // Several proxies stand before one server: each has its own.
        let port = proxy.address().port();
        let path = direct.with_extension(format!("through-{port}"));
        std::fs::write(&path, serde_json::to_string_pretty(&file)?)?;
        Ok(path)
    }

    /// Where the kubeconfig file of a name is.
    pub(super) fn kubeconfig_path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(format!("{name}.kubeconfig"))
    }

    /// What identifies a user in a kubeconfig file.
    pub(super) fn credentials_of(&self, user: &str, group: Option<&str>) -> Result<Value> {
        let Pair { certificate, key } = self.authority.client(user, group)?;
        Ok(json!({
            "client-certificate-data": STANDARD.encode(certificate),
            "client-key-data": STANDARD.encode(key),
        }))
    }

    /// Writes a kubeconfig file; JSON is YAML.
    pub(super) fn write_kubeconfig(&self, name: &str, credentials: Value) -> Result<PathBuf> {
        let cluster = json!({
            "server": self.url(),
            "certificate-authority-data": STANDARD.encode(self.authority.root()),
        });
        let file = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "bed", "cluster": cluster }],
            "users": [{ "name": name, "user": credentials }],
            "contexts": [{ "name": "bed", "context": { "cluster": "bed", "user": name } }],
            "current-context": "bed",
        });
        let path = self.kubeconfig_path(name);
        std::fs::write(&path, serde_json::to_string_pretty(&file)?)?;
        Ok(path)
    }

    async fn token(&self, namespace: &str, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } });
        accounts
            .patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(account))
            .await?;
        let spec = TokenRequestSpec {
            expiration_seconds: Some(TOKEN_LIFETIME_SECS),
            ..Default::default()
        };
        let request = TokenRequest {
            spec: Some(spec),
            ..Default::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        answer
            .status
            .and_then(|status| status.token)
            .context("the API server gave no token")
    }
}
