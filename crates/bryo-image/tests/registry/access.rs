// SPDX-License-Identifier: Apache-2.0
//! Who may be reached how, and who gets to see a credential.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bryo_image::Kind;
use bryo_tests::forward::ForwardProxy;

use super::fixture::{Fixture, three_layers};
use super::servers::{Registry, Reply, Server, Setup};

crate::common::tests![
    a_login_is_wanted_and_found,
    a_token_is_fetched_with_the_login,
    a_token_service_must_be_trusted,
    an_expired_token_is_replaced,
    plain_http_is_not_spoken_to_an_unnamed_host,
    certificates_are_verified,
    a_tunnel_through_a_proxy_proves_nothing,
    credentials_do_not_follow_a_redirect,
    an_unreachable_registry_is_told_at_once,
];

/// "u:pw"
const BASIC: &str = "Basic dTpwdw==";

fn login(fixture: &mut Fixture, authority: &str, auth: &str) {
    let path = fixture.path("auth.json");
    fs::write(&path, format!(r#"{{"auths":{{"{authority}":{{"auth":"{auth}"}}}}}}"#)).unwrap();
    fixture.options.registry.auth.files = vec![path];
}

fn a_login_is_wanted_and_found() {
    let mut fixture = Fixture::new();
    let registry = Registry::start(fixture.dir.path(), &Setup { login: Some(("u", "pw")), ..Setup::default() });
    fixture.allow(&registry.authority);
    let made = three_layers();
    registry.put(&made, "app", Some("u:pw"));
    let name = format!("{}/app", registry.authority);
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unauthorized);
    login(&mut fixture, &registry.authority, "dTp3cm9uZw==");
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unauthorized);
    fixture.assert_nothing_left();
    login(&mut fixture, &registry.authority, "dTpwdw==");
    let image = fixture.pull(&name).unwrap();
    fixture.assert_whole(&image, &made);
}

/// Serves the image to whoever shows the token `t<n>`, n being at least `at_least` of the path's requests.
fn guarded(realm: String, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
    let challenge = format!(r#"Bearer realm="{realm}",service="the service""#);
    Server::of(&three_layers(), vec![], move |seen, _, reply| {
        let shown = seen.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
        if seen.path == "/v2/" || shown.is_some_and(&accepts) {
            return reply;
        }
        assert_ne!(seen.header("authorization"), Some(BASIC), "a password for the token service only");
        Reply::new(401).with("WWW-Authenticate", &challenge)
    })
}

fn a_token_is_fetched_with_the_login() {
    let mut fixture = Fixture::new();
    let tokens = Server::start(|seen, _| match seen.header("authorization") {
        Some(BASIC) => Reply::new(200).body("application/json", br#"{"token":"good"}"#),
        _ => Reply::new(401),
    });
    let server = guarded(format!("http://{}/token?a=b", tokens.authority), |token| token == "good");
    fixture.allow(&server.authority);
    fixture.allow(&tokens.authority);
    let name = format!("{}/app", server.authority);
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unauthorized);
    login(&mut fixture, &server.authority, "dTpwdw==");
    let image = fixture.pull(&name).unwrap();
    fixture.assert_whole(&image, &three_layers());
    let asked: Vec<String> = tokens.seen().into_iter().map(|seen| seen.path).collect();
    let expected = "/token?a=b&scope=repository%3Aapp%3Apull&service=the+service";
    assert_eq!(asked, [expected, expected], "one token serves the whole pull");
}

fn a_token_service_must_be_trusted() {
    let mut fixture = Fixture::new();
    let tokens = Server::start(|_, _| Reply::new(200).body("application/json", br#"{"token":"good"}"#));
    let server = guarded(format!("http://{}/token", tokens.authority), |token| token == "good");
    fixture.allow(&server.authority);
    login(&mut fixture, &server.authority, "dTpwdw==");
    let error = fixture.pull(&format!("{}/app", server.authority)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    assert_eq!(tokens.connections(), 0);
}

fn an_expired_token_is_replaced() {
    let mut fixture = Fixture::new();
    let tokens = Server::start(|_, before| {
        Reply::new(200).body("application/json", format!(r#"{{"access_token":"t{before}"}}"#).as_bytes())
    });
    let uses = std::sync::atomic::AtomicUsize::new(0);
    let server = guarded(format!("http://{}/token", tokens.authority), move |token| {
        // The first token serves one request.
        token != "t0" || uses.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0
    });
    fixture.allow(&server.authority);
    fixture.allow(&tokens.authority);
    let image = fixture.pull(&format!("{}/app", server.authority)).unwrap();
    fixture.assert_whole(&image, &three_layers());
    assert!(tokens.seen().len() >= 2);
}

fn plain_http_is_not_spoken_to_an_unnamed_host() {
    let mut fixture = Fixture::new();
    let server = Server::of(&three_layers(), vec![], |_, _, reply| reply);
    let port = server.authority.split(':').nth(1).unwrap().to_owned();
    let mut names = vec![server.authority.clone(), format!("localhost:{port}")];
    for _ in 0..2 {
        for name in &names {
            let error = fixture.pull(&format!("{name}/app")).unwrap_err();
            assert_eq!(error.kind(), Kind::Unreachable, "{name}");
        }
        assert!(server.seen().is_empty(), "no request was readable");
        // Naming one spelling says nothing about the other.
        fixture.allow(&format!("localhost:{port}"));
        names.pop();
    }
    fixture.assert_nothing_left();
}

/// Starts a registry with a certificate for some names that nobody vouches for, and returns its file as well.
fn with_certificate(fixture: &Fixture, names: &[&str]) -> (Registry, PathBuf) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (fixture.path("cert.pem"), fixture.path("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (Registry::start(fixture.dir.path(), &Setup { tls: Some((&cert, &key)), ..Setup::default() }), cert)
}

fn certificates_are_verified() {
    let mut fixture = Fixture::new();
    let (registry, cert) = with_certificate(&fixture, &["localhost", "127.0.0.1"]);
    let image = three_layers();
    registry.put(&image, "app", None);
    let name = format!("{}/app", registry.authority);
    let started = Instant::now();
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unreachable);
    assert!(started.elapsed() < Duration::from_secs(5), "a bad certificate does not get better");
    fixture.options.registry.extra_cas = vec![cert];
    fixture.assert_whole(&fixture.pull(&name).unwrap(), &image);
    fixture.options.registry.extra_cas.clear();
    fixture.allow(&registry.authority);
    fixture.assert_whole(&fixture.pull(&name).unwrap(), &image);
}

fn a_tunnel_through_a_proxy_proves_nothing() {
    let mut fixture = Fixture::new();
    let Some(proxy) = ForwardProxy::start(false) else { return };
    // An address at which the kernel finds the loopback, and which is none to programs.
    let (registry, cert) = with_certificate(&fixture, &["0.0.0.0"]);
    let image = three_layers();
    registry.put(&image, "app", None);
    let name = format!("{}/app", registry.authority.replace("127.0.0.1", "0.0.0.0"));
    fixture.options.registry.proxies.https = Some(proxy.url());
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unreachable);
    fixture.options.registry.extra_cas = vec![cert];
    fixture.assert_whole(&fixture.pull(&name).unwrap(), &image);
    assert!(proxy.requests().len() > 1 && proxy.requests().iter().all(|request| request.starts_with("CONNECT ")));
}

fn credentials_do_not_follow_a_redirect() {
    let mut fixture = Fixture::new();
    let made = three_layers();
    let storage = Server::of(&made, vec![], |_, _, reply| reply);
    let target = storage.authority.clone();
    let server = Server::of(&made, vec![], move |seen, _, reply| match seen.header("authorization") {
        Some(BASIC) if seen.path.contains("/blobs/") => {
            Reply::new(307).with("Location", &format!("http://{target}{}", seen.path))
        }
        Some(BASIC) => reply,
        _ if seen.path == "/v2/" => reply,
        _ => Reply::new(401).with("WWW-Authenticate", r#"Basic realm="x""#),
    });
    fixture.allow(&server.authority);
    login(&mut fixture, &server.authority, "dTpwdw==");
    let name = format!("{}/app", server.authority);
    assert_eq!(fixture.pull(&name).unwrap_err().kind(), Kind::Unreachable, "the second host was not named");
    assert_eq!(storage.connections(), 0);
    fixture.allow(&storage.authority);
    let image = fixture.pull(&name).unwrap();
    fixture.assert_whole(&image, &made);
    assert!(storage.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

fn an_unreachable_registry_is_told_at_once() {
    let fixture = Fixture::new();
    let started = Instant::now();
    let error = fixture.pull("127.0.0.1:1/app").unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    let shown = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert_eq!(shown, "pull 127.0.0.1:1/app:latest: connect to 127.0.0.1:1");
    assert!(started.elapsed() < Duration::from_secs(5));
    let error = fixture.pull("registry.invalid/app").unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    fixture.assert_nothing_left();
}
