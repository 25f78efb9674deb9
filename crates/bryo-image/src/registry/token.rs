// SPDX-License-Identifier: Apache-2.0
//! Authorization: the answer to a registry's challenge ("Token Authentication" of the distribution project).

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::auth::Credential;
use super::challenge::Challenge;
use super::endpoint::Endpoint;
use super::http::{Attempt, Request, Session, authority_of, parse_url};
use super::retry::Failure;
use crate::error::{Error, Kind, Result};

const TOKEN_MAX: u64 = 1 << 20;

/// What a token is for: one repository, and whether it is written to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Scope {
    path: String,
    push: bool,
}

impl Scope {
    pub(super) fn pull(endpoint: &Endpoint) -> Self {
        Self { path: endpoint.path.clone(), push: false }
    }

    pub(super) fn push(endpoint: &Endpoint) -> Self {
        Self { path: endpoint.path.clone(), push: true }
    }

    fn text(&self) -> String {
        format!("repository:{}:{}", self.path, if self.push { "pull,push" } else { "pull" })
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Session<'_> {
    /// Answers the challenge of a refusal with a header, or with `None` if there is nothing to show.
    pub(super) fn authorize(&self, endpoint: &Endpoint, scope: &Scope, refusal: &Response) -> Attempt<Option<String>> {
        let headers = refusal.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = Challenge::choose(headers) else { return Ok(None) };
        let found = self.client.options.auth.find(&endpoint.domain, &endpoint.path);
        match challenge {
            Challenge::Basic => {
                let credential = found?.ok_or_else(|| missing(&self.client.peer(refusal.url())))?;
                Ok(credential.basic())
            }
            Challenge::Bearer { realm, service } => {
                // A broken helper must not stop what needs no credential at all.
                let (credential, trouble) = match found {
                    Ok(credential) => (credential, None),
                    Err(error) => (None, Some(error)),
                };
                let url = parse_url(&realm).and_then(|url| self.check_realm(url))?;
                let token = self.token(url, service.as_deref(), scope, credential.as_ref());
                match (token, trouble) {
                    (Ok(token), _) => Ok(Some(format!("Bearer {token}"))),
                    (Err(failure), Some(trouble)) if failure.error.kind() == Kind::Unauthorized => Err(trouble.into()),
                    (Err(failure), _) => Err(failure),
                }
            }
        }
    }

    /// Credentials go to the address in a challenge, so it must be as trustworthy as a registry's.
    fn check_realm(&self, url: Url) -> Result<Url> {
        let named = self.client.options.is_insecure(&authority_of(&url));
        if url.scheme() == "https" || (named && url.scheme() == "http") {
            return Ok(url);
        }
        let what = format!("ask the token service {}: it is not HTTPS and not named as insecure", authority_of(&url));
        Err(Error::new(Kind::Unauthorized, what))
    }

    fn token(
        &self,
        realm: Url,
        service: Option<&str>,
        scope: &Scope,
        credential: Option<&Credential>,
    ) -> Attempt<String> {
        let response = match credential {
            Some(Credential::IdentityToken(token)) => self.refresh(&realm, service, scope, token)?,
            _ => {
                let mut url = realm;
                // A login is for no repository.
                let scope = (!scope.path.is_empty()).then(|| ("scope", scope.text()));
                url.query_pairs_mut().extend_pairs(scope).extend_pairs(service.map(|service| ("service", service)));
                let basic = credential.and_then(Credential::basic);
                self.exchange(&Request::get(url.clone()), &url, basic.as_deref())?
            }
        };
        let (authority, status) = (authority_of(response.url()), response.status());
        let answer = self.accept(response).map_err(|failure| match status {
            // So a service of OAuth 2 refuses what it is shown (RFC 6749, section 5.2).
            StatusCode::BAD_REQUEST => {
                let what = format!("get a token of {authority}");
                Error::new(Kind::Unauthorized, what).with_source(failure.error).into()
            }
            _ => failure,
        })?;
        let bytes = answer.read_all(TOKEN_MAX)?;
        let malformed = || Error::new(Kind::Registry, format!("read a token of {authority}: malformed"));
        let answer: TokenAnswer = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        token.ok_or_else(malformed).map_err(Failure::from)
    }

    /// Shows an identity token, in the request's body: addresses are logged.
    fn refresh(&self, realm: &Url, service: Option<&str>, scope: &Scope, token: &str) -> Attempt<Response> {
        let mut form = realm.clone();
        form.query_pairs_mut()
            .clear()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "bryo")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("scope", &scope.text())
            .append_pair("refresh_token", token);
        let body = form.query().unwrap_or_default().to_owned();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let request = Request {
            method: Method::POST,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, form_type)]),
            body: Some(&|| Ok(body.clone().into())),
            ..Request::get(realm.clone())
        };
        self.exchange(&request, realm, None)
    }
}

fn missing(peer: &str) -> Error {
    Error::new(Kind::Unauthorized, format!("log in to {peer}: it wants credentials and there are none for it"))
}
