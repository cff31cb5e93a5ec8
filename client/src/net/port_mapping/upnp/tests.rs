//! Routers on loopback that answer what the story wants. Nothing here asks beyond this machine.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use super::description::find;
use super::*;

const GATEWAY: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn place(path: &str) -> Place {
    Place { address: SocketAddrV4::new(GATEWAY, 5000), path: path.to_owned() }
}

#[test]
fn only_what_is_on_the_gateway_itself_is_a_place() {
    let gateway = Ipv4Addr::new(192, 168, 1, 1);
    let at = |url: &str| Place::on_gateway(url, gateway).map(|place| (place.address.to_string(), place.path));
    assert_eq!(at("http://192.168.1.1:5000/root.xml"), Ok(("192.168.1.1:5000".into(), "/root.xml".into())));
    assert_eq!(at("HTTP://192.168.1.1"), Ok(("192.168.1.1:80".into(), "/".into())));
    for url in [
        "http://192.168.1.2:5000/root.xml",
        "http://127.0.0.1:5000/root.xml",
        "http://192.168.1.1@127.0.0.1/",
        "http://192.168.1.1:80@127.0.0.1/",
        "http://user@192.168.1.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:192.168.1.1]/",
        "http://0300.0250.1.1/",
        "http://192.168.1.1:0/",
        "http://192.168.1.1#@127.0.0.1/",
        "http://192.168.1.1\\@127.0.0.1/",
        "https://192.168.1.1/",
        "ftp://192.168.1.1/",
        "http://192.168.1.1/a\r\nX: y",
        "http://192.168.1.1/a b",
        "http://192.168.1.1/ä",
        "//192.168.1.1/",
        "http:/",
        "ä",
        "",
    ] {
        assert!(at(url).is_err(), "{url:?} is {:?}", at(url));
    }
    let long = format!("http://192.168.1.1/{}", "a".repeat(600));
    assert!(at(&long).is_err());
}

/// Answers questions on a socket of its own, with these texts, in this order.
async fn device(from: Ipv4Addr, answers: Vec<String>) -> (SocketAddrV4, JoinHandle<()>) {
    let socket = UdpSocket::bind((from, 0)).await.expect("a socket");
    let address = SocketAddrV4::new(from, socket.local_addr().expect("bound").port());
    let answering = tokio::spawn(async move {
        let (_, who) = socket.recv_from(&mut [0; 1500]).await.expect("a question");
        for answer in answers {
            socket.send_to(answer.as_bytes(), who).await.expect("sent");
        }
    });
    (address, answering)
}

fn located(url: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nLocation: {url}\r\nEXT:\r\n\r\n")
}

// macOS has no other address on loopback than the first.
#[cfg(not(target_os = "macos"))]
#[tokio::test]
async fn a_forged_answer_is_passed_over_and_the_gateways_own_counts() {
    let evil = Ipv4Addr::new(127, 0, 0, 66);
    let (forger, _forging) = device(evil, vec![located("http://127.0.0.1:22/forged")]).await;
    let answers = [
        // As somebody would who can send from the gateway's address, too.
        located("http://127.0.0.66:80/forged"),
        "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        "NOTIFY * HTTP/1.1\r\nLocation: http://127.0.0.1:5000/notify\r\n\r\n".to_owned(),
        "\0\u{ff}".to_owned(),
        located("http://127.0.0.1:5000/root.xml"),
    ];
    let (gateway, _answering) = device(GATEWAY, answers.to_vec()).await;
    let found = search::search(GATEWAY, Ipv4Addr::LOCALHOST, &[forger, gateway]).await;
    assert_eq!(found, Ok(place("/root.xml")));
}

#[tokio::test]
async fn a_flood_of_forged_answers_ends() {
    let (gateway, _answering) = device(GATEWAY, vec![located("http://127.0.0.66:80/forged"); 1000]).await;
    let begun = Instant::now();
    let problem = search::search(GATEWAY, Ipv4Addr::LOCALHOST, &[gateway]).await.expect_err("nothing was found");
    assert!(problem.contains("not on the gateway"), "{problem}");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

const DESCRIPTION: &str = r#"<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceList><device><deviceList><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/no</controlURL></service>
<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>CONTROL</controlURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>"#;

#[test]
fn the_service_is_found_and_takes_orders_on_the_gateway_alone() {
    let found = |control: &str| find(&DESCRIPTION.replace("CONTROL", control), &place("/root.xml"));
    for (control, path) in [("/ctl/IPConn", "/ctl/IPConn"), (" ctl/IPConn ", "/ctl/IPConn")] {
        let service = found(control).expect("a service");
        assert_eq!((service.at, service.kind), (place(path), "urn:schemas-upnp-org:service:WANIPConnection:1"));
    }
    let elsewhere = found("http://127.0.0.1:6000/ctl").expect("another port of the gateway");
    assert_eq!(elsewhere.at.address, SocketAddrV4::new(GATEWAY, 6000));
    for control in
        ["http://127.0.0.66:5000/ctl", "http://127.0.0.1@evil/ctl", "/ctl HTTP/1.1&#13;&#10;X: y", "@evil&#10;/"]
    {
        assert!(found(control).is_err(), "{control}");
    }
    let based = |base: &str| {
        let text = DESCRIPTION
            .replace("CONTROL", "/ctl")
            .replace("<device><deviceList><device><deviceList>", &format!("<URLBase>{base}</URLBase>$0"));
        find(&text.replace("$0", "<device><deviceList><device><deviceList>"), &place("/root.xml"))
    };
    assert_eq!(based("http://127.0.0.1:49152/").expect("a service").at.address.port(), 49152);
    assert!(based("http://127.0.0.66:49152/").is_err());
}

#[test]
fn a_description_that_explodes_or_nests_without_end_is_refused() {
    let bomb = "<!DOCTYPE root [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><root>&b;</root>".to_owned();
    let nested = format!("{}{}", "<a>".repeat(9_000), "</a>".repeat(9_000));
    let many = format!("<root>{}</root>", "<a/>".repeat(15_000));
    for text in [bomb, nested, many, "<root".to_owned(), String::new()] {
        assert!(find(&text, &place("/")).is_err());
    }
}

/// A router's HTTP, that answers every connection in this way.
async fn http_of(answer: impl Fn(&str) -> Vec<u8> + Send + 'static, goes_on: bool) -> Place {
    let listener = TcpListener::bind((GATEWAY, 0)).await.expect("a socket");
    let address = SocketAddrV4::new(GATEWAY, listener.local_addr().expect("bound").port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            let mut count = 0;
            while !complete(&request[..count]) {
                count += stream.read(&mut request[count..]).await.expect("a request");
            }
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            let _ = stream.write_all(&answer(&text)).await;
            while goes_on && stream.write_all(&[b'a'; 4096]).await.is_ok() {}
        }
    });
    Place { address, path: "/".to_owned() }
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().expect("a number"));
    body.len() >= length
}

#[tokio::test]
async fn an_answer_has_a_bounded_size_and_a_bounded_time() {
    let endless = http_of(|_| b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), true).await;
    let endless_head = http_of(|_| b"HTTP/1.1 200 OK\r\nX: ".to_vec(), true).await;
    let large = http_of(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec(), false).await;
    let chunk =
        http_of(|_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n".to_vec(), false).await;
    for place in [endless, endless_head, large, chunk] {
        let begun = Instant::now();
        assert!(http::get(&place).await.is_err());
        assert!(begun.elapsed() < http::PATIENCE + Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    // Somebody who accepts and says nothing.
    let listener = TcpListener::bind((GATEWAY, 0)).await.expect("a socket");
    let address = SocketAddrV4::new(GATEWAY, listener.local_addr().expect("bound").port());
    let begun = Instant::now();
    assert!(http::get(&Place { address, path: "/".to_owned() }).await.is_err());
    assert!(begun.elapsed() < http::PATIENCE + Duration::from_secs(1));
}

// macOS has no other address on loopback than the first.
#[cfg(not(target_os = "macos"))]
#[tokio::test]
async fn a_redirection_is_an_answer_like_others_and_not_followed() {
    let elsewhere = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 66), 0)).await.expect("a socket");
    let location = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        elsewhere.local_addr().expect("bound")
    );
    let router = http_of(move |_| location.clone().into_bytes(), false).await;
    assert!(description::read(&router).await.expect_err("no description").contains("302"));
    assert!(futures_util::FutureExt::now_or_never(elsewhere.accept()).is_none());
}

#[tokio::test]
async fn answers_are_read_with_a_length_in_chunks_and_to_the_end() {
    for head in [
        "Content-Length: 5\r\n\r\nhelloX",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        "\r\nhello",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}").into_bytes();
        let answer = http::get(&http_of(move |_| answer.clone(), false).await).await.expect(head);
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{head}");
    }
}

fn soap(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

const OUTER: &str = "<a><NewExternalIPAddress>11.1.1.7</NewExternalIPAddress></a>";

async fn asked(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Result<Grant<super::super::Handle>, String> {
    let service = Service { at: http_of(answer, false).await, kind: "urn:schemas-upnp-org:service:WANIPConnection:1" };
    let local = "192.168.1.7:4000".parse().expect("an address");
    ask_of(service, local, Ipv4Addr::new(11, 1, 1, 7)).await
}

#[tokio::test]
async fn a_port_that_somebody_has_is_asked_for_under_another_number() {
    let grant = asked(|request| match request {
        request if request.contains("#GetExternalIPAddress") => soap(200, OUTER),
        request if request.contains("<NewExternalPort>4000<") => soap(500, "<a><errorCode>718</errorCode></a>"),
        _ => soap(200, "<a/>"),
    });
    let grant = grant.await.expect("granted");
    assert!(grant.external.port() >= DYNAMIC_PORTS && grant.lifetime == LIFETIME, "{grant:?}");
}

#[tokio::test]
async fn a_router_that_knows_only_leases_without_an_end_gets_one() {
    let grant = asked(|request| match request {
        request if request.contains("#GetExternalIPAddress") => soap(200, OUTER),
        request if request.contains("<NewLeaseDuration>0<") => soap(200, "<a/>"),
        _ => soap(500, "<a><errorCode>725</errorCode></a>"),
    });
    let grant = grant.await.expect("granted");
    assert_eq!((grant.external.port(), grant.lifetime), (4000, LIFETIME));
}

#[tokio::test]
async fn a_router_behind_a_router_is_not_asked_for_a_port() {
    for outer in ["10.0.0.2", "192.168.0.2", "100.64.0.2", "127.0.0.1", "0.0.0.0", "nonsense", ""] {
        let problem = asked(move |request| {
            assert!(request.contains("#GetExternalIPAddress"), "it was asked for a port");
            soap(200, &OUTER.replace("11.1.1.7", outer))
        });
        let problem = problem.await.expect_err(outer);
        assert!(problem.contains("another NAT") || problem.contains("no outer address"), "{problem}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_words() {
    let refusing = asked(|request| match request.contains("#GetExternalIPAddress") {
        true => soap(200, OUTER),
        false => soap(500, "<s:Envelope xmlns:s=\"x\"><errorCode>606</errorCode></s:Envelope>"),
    });
    assert_eq!(refusing.await.expect_err("refused"), "the router does not allow it");
}
