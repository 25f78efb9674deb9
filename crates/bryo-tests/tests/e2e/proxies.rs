// SPDX-License-Identifier: Apache-2.0
//! Registries behind a forward proxy, as the usual variables name it.

use bryo_tests::forward::{ForwardProxy, LOGIN};
use bryo_tests::images;
use bryo_tests::registry::{Registry, free_port};
use bryo_tests::{Home, Output, Running, User};

const INSECURE: &str = "--tls-verify=false";

/// Puts busybox into a registry and returns its name there, for a host that is none of the loopback's.
fn put(registry: &Registry) -> String {
    registry.put(&images::busybox(), "busybox:1").replace(&registry.host, &registry.elsewhere())
}

/// Runs bryo with variables in its environment.
#[track_caller]
fn bryo_with(home: &Home, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut words: Vec<String> = variables.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.push(bryo_tests::dirs::bryo().display().to_string());
    words.extend(args.iter().map(|word| (*word).to_owned()));
    let mut command = home.user.command(&home.path, "env");
    command.args(words);
    Running::start(command, false).wait()
}

#[test]
fn a_plain_registry_is_reached_through_the_proxy() {
    let (Some(user), Some(registry), Some(proxy)) =
        (User::ordinary(), Registry::start(false), ForwardProxy::start(false))
    else {
        return;
    };
    let name = put(&registry);
    let home = Home::new(&user);
    bryo_with(&home, &[("http_proxy", &proxy.url())], &["pull", INSECURE, &name]).ok();
    let requests = proxy.requests();
    for part in ["/v2/busybox/manifests/1", "/v2/busybox/blobs/sha256:"] {
        let whole = format!("GET http://{}{part}", registry.elsewhere());
        assert!(requests.iter().any(|request| request.starts_with(&whole)), "no {whole} in {requests:#?}");
    }
    assert_eq!(home.run(&[&name, "echo", "here"]).ok(), "here");
    // The other way as well, in which the whole layer is a request's body.
    let again = format!("{}/again:1", registry.elsewhere());
    home.bryo(&["tag", &name, &again]).ok();
    bryo_with(&home, &[("http_proxy", &proxy.url())], &["push", INSECURE, &again]).ok();
    assert!(proxy.requests().iter().any(|request| request.starts_with("PUT http://")), "nothing was put through it");
    assert_eq!(registry.manifest(&again), registry.manifest(&name));
}

#[test]
fn a_registry_with_tls_is_reached_through_a_tunnel() {
    for variable in ["https_proxy", "HTTPS_PROXY"] {
        let (Some(user), Some(registry), Some(proxy)) =
            (User::ordinary(), Registry::start_tls(), ForwardProxy::start(false))
        else {
            return;
        };
        let name = put(&registry);
        let home = Home::new(&user);
        let proxied = [(variable, &*proxy.url())];
        // A tunnel vouches for nobody.
        bryo_with(&home, &proxied, &["pull", &name]).fails(125, &[&registry.elsewhere(), "certificate"]);
        bryo_with(&home, &proxied, &["pull", INSECURE, &name]).ok();
        let tunnel = format!("CONNECT {} HTTP/1.1", registry.elsewhere());
        let requests = proxy.requests();
        assert!(!requests.is_empty() && requests.iter().all(|request| *request == tunnel), "{requests:#?}");
        assert_eq!(home.run(&[&name, "echo", "here"]).ok(), "here");
    }
}

#[test]
fn hosts_that_need_no_proxy_are_reached_without_it() {
    let (Some(user), Some(registry), Some(proxy)) =
        (User::ordinary(), Registry::start(false), ForwardProxy::start(false))
    else {
        return;
    };
    let name = put(&registry);
    let direct = |variables: &[(&str, &str)], name: &str| {
        let url = proxy.url();
        let variables = [variables, &[("http_proxy", &*url)]].concat();
        bryo_with(&Home::new(&user), &variables, &["pull", INSECURE, name]).ok();
        proxy.requests().is_empty()
    };
    for exclude in [("no_proxy", "0.0.0.0"), ("NO_PROXY", "example.org, 0.0.0.0/8"), ("NO_PROXY", "*")] {
        assert!(direct(&[exclude], &name), "{exclude:?}");
    }
    // The loopback of a proxy is another one.
    assert!(direct(&[], &format!("{}/busybox:1", registry.host)));
    // A name is not excluded because another one is.
    assert!(!direct(&[("no_proxy", "127.0.0.1,registry.example.org")], &name));
}

/// CVE-2016-5385: a web server makes this variable of a request's header `Proxy`.
#[test]
fn a_web_servers_child_does_not_read_the_variable_that_a_request_can_set() {
    let (Some(user), Some(registry), Some(proxy)) =
        (User::ordinary(), Registry::start(false), ForwardProxy::start(false))
    else {
        return;
    };
    let name = put(&registry);
    let (url, served) = (proxy.url(), ("REQUEST_METHOD", "GET"));
    bryo_with(&Home::new(&user), &[("HTTP_PROXY", &url), served], &["pull", INSECURE, &name]).ok();
    assert_eq!(proxy.requests(), [""; 0]);
    bryo_with(&Home::new(&user), &[("HTTP_PROXY", &url)], &["pull", INSECURE, &name]).ok();
    assert!(!proxy.requests().is_empty());
}

#[test]
fn a_proxy_gets_its_own_login_and_nobody_sees_it() {
    let (Some(user), Some(plain), Some(tls), Some(proxy)) =
        (User::ordinary(), Registry::start(false), Registry::start_tls(), ForwardProxy::start(true))
    else {
        return;
    };
    let proxy_url = |password: &str| format!("http://{}:{password}@{}", LOGIN.0, proxy.host);
    for (registry, variable) in [(&plain, "http_proxy"), (&tls, "https_proxy")] {
        let name = put(registry);
        let home = Home::new(&user);
        for wrong in [proxy.url(), proxy_url("wr0ng-secret")] {
            let output = bryo_with(&home, &[(variable, &wrong)], &["pull", INSECURE, &name]);
            let shown = output.fails(125, &[&proxy.host, "proxy"]);
            assert!(!shown.contains("wr0ng-secret") && shown.starts_with("bryo: pull "), "{output}");
        }
        bryo_with(&home, &[(variable, &proxy_url(LOGIN.1))], &["pull", INSECURE, &name]).ok();
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let proxy = format!("127.0.0.1:{}", free_port());
    for (variable, value) in [("https_proxy", format!("http://{proxy}")), ("https_proxy", proxy.clone())] {
        let output = bryo_with(&home, &[(variable, &value)], &["pull", "registry.example.org/tool"]);
        output.fails(125, &["registry.example.org", &proxy]);
    }
    bryo_with(&home, &[("https_proxy", "::not a url::")], &["pull", "registry.example.org/tool"])
        .fails(125, &["https_proxy"]);
}
