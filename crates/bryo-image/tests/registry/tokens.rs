// SPDX-License-Identifier: Apache-2.0
//! Identity tokens: a token service that changes them for access tokens, and a real registry that verifies those.
//!
//! Sources: "Token Authentication Implementation" and "OAuth2 Token Authentication" of the distribution project.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bryo_image::Kind;
use bryo_image::push::{PushOptions, push};
use rcgen::{CertifiedKey, KeyPair, SigningKey};
use serde_json::{Value, json};

use super::fixture::{Fixture, three_layers};
use super::servers::{Registry, Reply, Seen, Server, Setup};
use crate::common::tests;

tests![
    an_identity_token_is_changed_for_access,
    an_identity_token_comes_from_a_helper,
    an_image_is_pushed_with_an_identity_token,
    a_refused_identity_token_is_told_and_not_shown,
    an_identity_token_goes_to_the_token_service_only,
];

/// "u:pw", as skopeo shows it.
const BASIC: &str = "Basic dTpwdw==";
const IDENTITY: &str = "1dentity/of+u=";
const SERVICE: &str = "the service";

/// What tokens are signed with; its certificate is what the registry trusts.
struct Signer(CertifiedKey<KeyPair>);

impl Signer {
    /// Makes a token for what a scope asks, `repository:NAME:ACTIONS`.
    fn token(&self, scope: &str) -> String {
        let parts: Vec<&str> = scope.split(':').collect();
        let access = json!([{"type": parts[0], "name": parts[1], "actions": parts[2].split(',').collect::<Vec<_>>()}]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(self.0.cert.der())]});
        let claims = json!({
            "iss": "the tests", "sub": "u", "aud": SERVICE, "exp": now + 300, "nbf": now - 60, "iat": now, "jti": "1",
            "access": access,
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = plain_signature(&self.0.signing_key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Takes the two numbers of a signature out of their DER: 32 bytes each, as JWS wants them (RFC 7518, 3.4).
fn plain_signature(der: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let number = &rest[2..2 + usize::from(rest[1])];
        rest = &rest[2 + number.len()..];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        plain.extend(std::iter::repeat_n(0, 32 - number.len()));
        plain.extend_from_slice(number);
    }
    plain
}

/// Reads a query or a form.
fn fields(encoded: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{encoded}")).unwrap();
    url.query_pairs().into_owned().collect()
}

fn query(seen: &Seen) -> &str {
    seen.path.split_once('?').map_or("", |(_, query)| query)
}

/// Starts the token service: a name and a password by GET, an identity token by POST.
fn service(signer: Signer) -> Server {
    Server::start(move |seen, _| {
        let answer = |key: &str, token: String| {
            Reply::new(200).body("application/json", json!({key: token, "expires_in": 300}).to_string().as_bytes())
        };
        if seen.method == "GET" && seen.header("authorization") == Some(BASIC) {
            return answer("token", signer.token(&fields(query(seen))["scope"]));
        }
        if seen.method == "GET" {
            return Reply::new(401);
        }
        let form = fields(std::str::from_utf8(&seen.body).unwrap());
        let is = |key: &str, value: &str| form.get(key).is_some_and(|found| found == value);
        let is_form = seen.header("content-type") == Some("application/x-www-form-urlencoded");
        let asks = is("grant_type", "refresh_token") && is("service", SERVICE) && form.contains_key("client_id");
        if is_form && asks && is("refresh_token", IDENTITY) {
            return answer("access_token", signer.token(&form["scope"]));
        }
        let refusal = br#"{"error":"invalid_grant","error_description":"the token is \u001b[31mnot known"}"#;
        Reply::new(400).body("application/json", refusal)
    })
}

/// A fixture, the token service and a registry that trusts it, with an image as `app`.
fn ground() -> (Fixture, Server, Registry) {
    let mut fixture = Fixture::new();
    let signer = Signer(rcgen::generate_simple_self_signed(vec!["the tests".to_owned()]).unwrap());
    let bundle = fixture.path("tokens.pem");
    fs::write(&bundle, signer.0.cert.pem()).unwrap();
    let service = service(signer);
    let realm = format!("http://{}/token", service.authority);
    let setup = Setup { tokens: Some((&realm, SERVICE, "the tests", &bundle)), ..Setup::default() };
    let registry = Registry::start(fixture.dir.path(), &setup);
    registry.put(&three_layers(), "app", Some("u:pw"));
    fixture.allow(&registry.authority);
    fixture.allow(&service.authority);
    (fixture, service, registry)
}

fn log_in(fixture: &mut Fixture, content: &Value) {
    let path = fixture.path("auth.json");
    fs::write(&path, content.to_string()).unwrap();
    fixture.options.registry.auth.files = vec![path];
}

fn asked_by_post(service: &Server) -> Vec<HashMap<String, String>> {
    let seen = service.seen();
    assert!(seen.iter().all(|seen| !seen.path.contains("dentity")), "a token is no part of an address");
    let posted = seen.iter().filter(|seen| seen.method == "POST");
    posted.map(|seen| fields(std::str::from_utf8(&seen.body).unwrap())).collect()
}

fn an_identity_token_is_changed_for_access() {
    let (mut fixture, service, registry) = ground();
    let name = format!("{}/app", registry.authority);
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unauthorized, "nothing to show");
    // As `docker login` writes it beside a name without a password.
    let entry = json!({"auth": STANDARD.encode("u:"), "identitytoken": IDENTITY});
    log_in(&mut fixture, &json!({"auths": {registry.authority.as_str(): entry}}));
    let image = fixture.pull(&name).unwrap();
    fixture.assert_whole(&image, &three_layers());
    let asked = asked_by_post(&service);
    assert_eq!(asked.len(), 1, "one token serves the whole pull");
    assert_eq!(asked[0]["scope"], "repository:app:pull");
}

fn an_identity_token_comes_from_a_helper() {
    let (mut fixture, service, registry) = ground();
    let helper = fixture.path("docker-credential-tests");
    let answer = json!({"ServerURL": registry.authority, "Username": "<token>", "Secret": IDENTITY});
    fs::write(&helper, format!("#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fixture.options.registry.auth.helper_dirs = vec![fixture.dir.path().to_path_buf()];
    log_in(&mut fixture, &json!({"credHelpers": {registry.authority.as_str(): "tests"}}));
    let image = fixture.pull(&format!("{}/app", registry.authority)).unwrap();
    fixture.assert_whole(&image, &three_layers());
    assert_eq!(asked_by_post(&service).len(), 1);
}

fn an_image_is_pushed_with_an_identity_token() {
    let (mut fixture, service, registry) = ground();
    log_in(&mut fixture, &json!({"auths": {registry.authority.as_str(): {"identitytoken": IDENTITY}}}));
    fixture.pull(&format!("{}/app", registry.authority)).unwrap();
    let record = fixture.store.images().unwrap().remove(0);
    let target = format!("{}/other/copy:2", registry.authority).parse().unwrap();
    let options = PushOptions { registry: fixture.options.registry.clone(), ..PushOptions::default() };
    push(&fixture.store, &record, &target, &options, &fixture.log).unwrap();
    let scopes: Vec<String> = asked_by_post(&service).into_iter().map(|form| form["scope"].clone()).collect();
    assert!(scopes.contains(&"repository:other/copy:pull,push".to_owned()), "{scopes:?}");
    let image = fixture.pull(&target.to_string()).unwrap();
    fixture.assert_whole(&image, &three_layers());
}

fn a_refused_identity_token_is_told_and_not_shown() {
    let (mut fixture, _service, registry) = ground();
    log_in(&mut fixture, &json!({"auths": {registry.authority.as_str(): {"identitytoken": "st0len"}}}));
    let error = fixture.pull(&format!("{}/app", registry.authority)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    let shown = chain(&error);
    assert!(shown.contains("the token is  [31mnot known") && !shown.contains("st0len"), "{shown}");
    fixture.assert_nothing_left();
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(|error| format!("{error}: ")).collect()
}

fn an_identity_token_goes_to_the_token_service_only() {
    let mut fixture = Fixture::new();
    let tokens = Server::start(|_, _| Reply::new(200).body("application/json", br#"{"access_token":"good"}"#));
    let challenge = format!(r#"Bearer realm="http://{}/token",service="x""#, tokens.authority);
    let server = Server::of(&three_layers(), vec![], move |seen, _, reply| match seen.header("authorization") {
        Some("Bearer good") => reply,
        _ if seen.path == "/v2/" => reply,
        _ => Reply::new(401).with("WWW-Authenticate", &challenge).with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    fixture.allow(&server.authority);
    log_in(&mut fixture, &json!({"auths": {server.authority.as_str(): {"identitytoken": IDENTITY}}}));
    let name = format!("{}/app", server.authority);
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unauthorized, "a service that nobody named");
    assert_eq!(tokens.connections(), 0);
    fixture.allow(&tokens.authority);
    fixture.pull(&name).unwrap();
    assert_eq!(asked_by_post(&tokens).len(), 1);
    for seen in server.seen() {
        assert!(seen.body.is_empty() && !format!("{seen:?}").contains("dentity"), "{seen:?}");
    }
}
