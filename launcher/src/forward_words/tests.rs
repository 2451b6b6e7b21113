use super::*;

fn read(line: &str) -> Result<Vec<Forward>, Failure> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    forwards(&words)
}

/// Each forward as `TARGET LOCAL REMOTE[/udp]`.
fn shown_forwards(line: &str) -> Vec<String> {
    let forwards = read(line).unwrap_or_else(|failure| panic!("{line}: {}", failure.error));
    forwards
        .iter()
        .map(|forward| {
            let Forward {
                target,
                local,
                remote,
                protocol,
            } = forward;
            format!("{target} {local} {remote}{}", protocol.suffix())
        })
        .collect()
}

fn error(line: &str) -> String {
    read(line).expect_err(line).error
}

#[test]
fn ports_belong_to_the_target_before_them() {
    assert_eq!(
        shown_forwards("db 5432 svc/web.shop 8080:80 8443:https deploy/api :9000 10.1.2.3 53:53/udp"),
        [
            "db 5432 5432",
            "service/web.shop 8080 80",
            "service/web.shop 8443 https",
            "deployment/api 0 9000",
            "10.1.2.3 53 53/udp",
        ]
    );
    assert_eq!(
        shown_forwards("db.example.com 0:5432/TCP"),
        ["db.example.com 0 5432"]
    );
    assert_eq!(
        shown_forwards("[fd00::7] 80 fd00::8 81"),
        ["fd00::7 80 80", "fd00::8 81 81"]
    );
    assert_eq!(
        shown_forwards("po/static.example 80"),
        ["pod/static.example 80 80"]
    );
    assert_eq!(shown_forwards("svc/db.shop.svc 1"), ["service/db.shop 1 1"]);
}

#[test]
fn ports_out_of_range_or_malformed_are_named() {
    for (line, words) in [
        ("db 70000", "the ports 70000: a port is a number from 1 to 65535"),
        (
            "db 80:70000",
            "the ports 80:70000: a port is a number from 1 to 65535",
        ),
        ("db 0", "the ports 0: the target's port cannot be 0"),
        ("db 80:0", "the ports 80:0: the target's port cannot be 0"),
        ("db 80:", "the ports 80:: a port is a number from 1 to 65535"),
        ("db :", "the ports :: a port is a number from 1 to 65535"),
        ("db 80/sctp", "the ports 80/sctp: the protocol is tcp or udp"),
        (
            "db 80:Web",
            "the ports 80:Web: the second one is neither a number nor a name of a port",
        ),
        (
            "db 80:a-name-that-is-too-long",
            "the ports 80:a-name-that-is-too-long: the second one is neither a number nor a name of a port",
        ),
    ] {
        assert_eq!(error(line), words);
    }
}

#[test]
fn target_without_ports_and_ports_without_target_are_named() {
    assert_eq!(error("db"), "no ports stand behind db");
    assert_eq!(error("db http 80"), "no ports stand behind db");
    assert_eq!(error("5432"), "no target stands before the ports 5432");
    assert_eq!(read("").unwrap(), []);
}

#[test]
fn malformed_target_is_named() {
    for (line, words) in [
        ("80:80:80 80", "80:80:80 is neither a target nor a pair of ports"),
        ("web:80 80", "web:80 is neither a target nor a pair of ports"),
        ("[web] 80", "'[web]' is neither a target nor a pair of ports"),
        ("svc/Web 80", "svc/Web is no name of a service"),
        ("svc/ 80", "svc/ is no name of a service"),
        ("svc/a.b.c 80", "svc/a.b.c is no name of a service"),
        ("ingress/web 80", "ingress/web is no TYPE/NAME of what has pods"),
        ("deploy/ 80", "deploy/ is no TYPE/NAME of what has pods"),
        ("cronjob/nightly 80", "cronjob/nightly has no pods of its own"),
        ("localhost 80", "localhost is this machine itself"),
        ("127.0.0.1 80", "127.0.0.1 is this machine itself"),
        ("[::1] 80", "'[::1]' is this machine itself"),
        ("0.0.0.0 80", "0.0.0.0 is this machine itself"),
    ] {
        assert_eq!(error(line), words);
    }
}

fn request(line: &str, socks: Option<&str>) -> ForwardRequest {
    ForwardRequest {
        addresses: vec![ListenAddress::Localhost],
        forwards: read(line).unwrap(),
        socks: socks.map(|text| self::socks(text).unwrap()),
    }
}

#[test]
fn local_port_that_is_given_twice_is_refused_and_free_ones_and_another_protocol_are_not() {
    let check = |line: &str, socks| check_local_ports(&request(line, socks));
    assert!(check("a 80 b :80 c :80 d 80/udp", Some("1080")).is_ok());
    let failure = check("a 80 b 80:81", None).unwrap_err();
    assert_eq!(failure.error, "the local port 80 is given twice");
    let failure = check("a 53/udp b 53/udp", None).unwrap_err();
    assert_eq!(failure.error, "the local port 53/udp is given twice");
    let failure = check("a 1080", Some("127.0.0.1:1080")).unwrap_err();
    assert_eq!(failure.error, "the local port 1080 is given twice");
}

#[test]
fn types_and_port_names_are_refused_without_kubernetes() {
    let check = |line: &str| check_without_kubernetes(&request(line, None));
    assert!(check("db 5432 10.1.2.3 53/udp").is_ok());
    for (line, words) in [
        (
            "svc/db 5432",
            "service/db needs Kubernetes, and --agent uses none",
        ),
        (
            "deploy/web 80",
            "deployment/web needs Kubernetes, and --agent uses none",
        ),
        (
            "web 80:http",
            "the port http of web needs Kubernetes, and --agent uses none",
        ),
    ] {
        assert_eq!(check(line).unwrap_err().error, words);
    }
}

#[test]
fn socks_address_may_be_left_out() {
    let read = |text| {
        let SocksEndpoint { address, port } = socks(text).unwrap();
        (address.to_string(), port)
    };
    assert_eq!(read("127.0.0.1:1080"), ("127.0.0.1".into(), 1080));
    assert_eq!(read("[::1]:1080"), ("::1".into(), 1080));
    assert_eq!(read("localhost:1080"), ("localhost".into(), 1080));
    assert_eq!(read("1080"), ("localhost".into(), 1080));
    for wrong in [
        "",
        "web:1080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:70000",
        "localhost:x",
    ] {
        assert!(socks(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn address_with_a_port_or_a_name_is_refused() {
    assert_eq!(address("localhost").unwrap(), ListenAddress::Localhost);
    assert_eq!(address("[::1]").unwrap().to_string(), "::1");
    for wrong in ["web", "127.0.0.1:80", ""] {
        let error = address(wrong).unwrap_err().error;
        assert!(error.starts_with("--address "), "{error}");
    }
}
