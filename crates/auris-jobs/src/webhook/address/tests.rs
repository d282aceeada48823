//! Addresses that may and may not be called.

use super::*;

fn refusal(address: &str) -> String {
    check_address(address, false).expect_err(address).to_string()
}

#[test]
fn hosts_that_only_the_server_can_reach_are_refused() {
    fn check(host: &str, kind: &str) {
        let text = refusal(&format!("http://{host}/hook"));
        assert!(text.contains(&format!("is {kind}, which")), "{host}: {text}");
        assert!(check_address(&format!("https://{host}:8443/"), true).is_ok(), "{host}");
    }
    check("localhost", "this machine");
    check("LOCALHOST.", "this machine");
    check("a.localhost", "this machine");
    for host in ["127.0.0.1", "127.255.255.254", "127.1", "2130706433", "0x7f.1", "0177.0.0.1"] {
        check(host, "a loopback address");
    }
    for host in ["0.0.0.0", "0", "0.255.255.255", "[::]"] {
        check(host, "an unspecified address");
    }
    for host in ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1"] {
        check(host, "a private address");
    }
    for host in ["169.254.169.254", "169.254.0.1", "[fe80::1]", "[febf::1]"] {
        check(host, "a link-local address");
    }
    for host in ["100.64.0.1", "100.127.255.255"] {
        check(host, "a carrier's shared address");
    }
    for host in ["224.0.0.1", "239.255.255.255", "[ff02::1]"] {
        check(host, "a multicast address");
    }
    for host in ["192.0.2.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[3fff::1]"] {
        check(host, "an address for documentation");
    }
    for host in ["192.0.0.8", "192.88.99.1", "240.0.0.1", "255.255.255.255"] {
        check(host, "a reserved address");
    }
    for host in ["198.18.0.1", "198.19.255.255"] {
        check(host, "an address for benchmarks");
    }
    check("[::1]", "a loopback address");
    for host in ["[fc00::1]", "[fdff::1]", "[fec0::1]"] {
        check(host, "a private address");
    }
    // Teredo, ORCHID, local NAT64, discard-only, segment routing and unallocated space.
    for host in
        ["[2001::1]", "[2001:20::1]", "[64:ff9b:1::1]", "[100::1]", "[5f00::1]", "[4000::1]"]
    {
        check(host, "a reserved address");
    }
}

#[test]
fn an_ipv4_address_is_found_within_an_ipv6_address() {
    fn check(host: &str, kind: Option<&str>) {
        let checked = check_address(&format!("http://[{host}]/"), false);
        match (checked, kind) {
            (Ok(_), None) => {}
            (Err(WebhookRefusal::Private { kind, .. }), Some(expected)) => {
                assert_eq!(kind, expected, "{host}");
            }
            (checked, _) => panic!("{host}: {checked:?}"),
        }
    }
    for prefix in ["::ffff:", "::ffff:0:", "::", "64:ff9b::"] {
        check(&format!("{prefix}127.0.0.1"), Some("a loopback address"));
        check(&format!("{prefix}169.254.169.254"), Some("a link-local address"));
        check(&format!("{prefix}10.1.2.3"), Some("a private address"));
        check(&format!("{prefix}8.8.8.8"), None);
    }
    check("2002:7f00:1::", Some("a loopback address"));
    check("2002:a9fe:a9fe::1", Some("a link-local address"));
    check("2002:808:808::1", None);
}

#[test]
fn public_addresses_are_accepted_with_their_receiver() {
    fn check(address: &str, url: &str, receiver: &str) {
        let webhook = check_address(address, false).unwrap();
        assert_eq!(webhook.url, url);
        assert_eq!(format!("{}:{}", webhook.host, webhook.port), receiver);
    }
    check("https://Example.com/a?b=c", "https://example.com/a?b=c", "example.com:443");
    check("http://example.com", "http://example.com/", "example.com:80");
    check("https://example.com:8443/", "https://example.com:8443/", "example.com:8443");
    check("https://bücher.example/", "https://xn--bcher-kva.example/", "xn--bcher-kva.example:443");
    check("http://8.8.8.8/", "http://8.8.8.8/", "8.8.8.8:80");
    check("http://9.255.255.255/", "http://9.255.255.255/", "9.255.255.255:80");
    check("http://172.32.0.1/", "http://172.32.0.1/", "172.32.0.1:80");
    check("http://100.128.0.1/", "http://100.128.0.1/", "100.128.0.1:80");
    check("https://[2606:4700::1111]/", "https://[2606:4700::1111]/", "[2606:4700::1111]:443");
}

#[test]
fn invalid_addresses_are_reported() {
    let long = refusal(&format!("https://example.com/{}", "a".repeat(MAX_BYTES)));
    insta::assert_snapshot!(long, @"the address is longer than 2048 bytes");
    insta::assert_snapshot!(refusal("example.com/hook"), @"this is no address (relative URL without a base): give one such as https://example.com/hook");
    insta::assert_snapshot!(refusal("https://"), @"this is no address (empty host): give one such as https://example.com/hook");
    insta::assert_snapshot!(refusal("file:///etc/passwd"), @"the scheme `file` is not one of https and http");
    insta::assert_snapshot!(refusal("https://user:secret@example.com/"), @"the address has a user name or password: leave it out and check the signature instead");
    insta::assert_snapshot!(refusal("http://169.254.169.254/latest/meta-data"), @"169.254.169.254 is a link-local address, which is not called: give an address on the public internet, or start the server with --webhook-allow-private");
}
