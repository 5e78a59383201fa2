//! `faythe account`: the account at each CA, shown, given another key, or replaced by another.
//!
//! A daemon that runs meanwhile needs no restart: when the CA does not take its key any more, it reads the saved account
//! again.

use anyhow::{Context, bail};

use crate::ca::acme::{Acme, Shown};
use crate::config::Config;
use crate::daemon::{self, Adapters};

/// What is to be done with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Another account takes its place.
    New,
    /// It gets another key.
    RollOver,
    /// It is shown.
    Show,
}

/// Does it at every CA, or at the one that is called `name`; `tell` is given each line of the outcome.
pub(crate) async fn run(
    config: &Config,
    action: Action,
    name: Option<&str>,
    tell: &mut dyn FnMut(String),
) -> anyhow::Result<()> {
    let Adapters { cas, .. } = daemon::adapters(config).await?;
    let names = || {
        config
            .cas
            .iter()
            .map(|ca| ca.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let several = config.cas.len() > 1;
    let chosen: Vec<_> = config
        .cas
        .iter()
        .zip(&cas)
        .filter(|(ca, _)| name.is_none_or(|name| ca.name == name))
        .collect();
    if let (Some(name), []) = (name, &chosen[..]) {
        bail!("there is no CA called {name:?}; `--ca` takes one of {}", names());
    }
    if several && name.is_none() && action != Action::Show {
        bail!("there are several CAs; say which with `--ca`: {}", names());
    }
    for (configured, ca) in chosen {
        if several {
            tell(format!("CA        {} ({})", configured.name, configured.url));
        }
        at(ca, action, tell).await?;
    }
    Ok(())
}

/// Does it at one CA.
async fn at(ca: &Acme, action: Action, tell: &mut dyn FnMut(String)) -> anyhow::Result<()> {
    if ca.account().await?.is_none() {
        let text = "there is no account at the CA yet; the first order makes one";
        if action == Action::Show {
            tell(text.to_owned());
            return Ok(());
        }
        bail!(text);
    }
    match action {
        Action::New => {
            let url = ca.move_to_new_account().await.context("the new account")?;
            tell(format!("made another account: {url}"));
            tell("the old one is left alone at the CA; orders under way are made anew".to_owned());
        }
        Action::RollOver => {
            let url = ca.roll_over().await.context("the change of keys")?;
            tell(format!("{url} has another key"));
        }
        Action::Show => {}
    }
    show(ca, tell).await
}

async fn show(ca: &Acme, tell: &mut dyn FnMut(String)) -> anyhow::Result<()> {
    let Some(Shown {
        url,
        key,
        status,
        contact,
        terms,
        caa_identities,
    }) = ca.account().await?
    else {
        return Ok(());
    };
    tell(format!("account   {url}"));
    tell(format!("status    {status}"));
    tell(format!("key       {key}"));
    let contact = if contact.is_empty() {
        "none".to_owned()
    } else {
        contact.join(", ")
    };
    tell(format!("contact   {contact}"));
    if let Some(terms) = terms {
        tell(format!("terms     {terms}"));
    }
    // What an owner of a domain can allow, and nothing else (RFC 8657 §3, §4).
    for identity in caa_identities {
        tell(format!(
            "CAA       0 issue \"{identity}; accounturi={url}; validationmethods=dns-01\""
        ));
    }
    Ok(())
}
