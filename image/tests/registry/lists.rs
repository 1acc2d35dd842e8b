//! Catalogs, tags and searches.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use builder_image::registry::Hit;

use super::servers::{Fault, Faulty, RealRegistry};
use super::{client, push_image, repository};

#[test]
fn repositories_and_tags_are_listed() {
    let registry = RealRegistry::start();
    let client = client();
    assert_eq!(client.catalog(registry.host()).unwrap(), Vec::<String>::new());
    for name in ["b/app", "a", "b/other"] {
        push_image(&repository(&client, &registry.reference(name)), "1", name);
    }
    let images = repository(&client, &registry.reference("a"));
    push_image(&images, "latest", "x");
    assert_eq!(client.catalog(registry.host()).unwrap(), ["a", "b/app", "b/other"]);
    assert_eq!(images.tags().unwrap(), ["1", "latest"]);
    assert!(repository(&client, &registry.reference("none")).tags().unwrap_err().is_not_found());
    let found = client.search(registry.host(), "APP", 10).unwrap();
    assert_eq!(found, [Hit { name: "b/app".to_owned(), ..Hit::default() }]);
    assert_eq!(client.search(registry.host(), "b", 1).unwrap().len(), 1);
}

#[test]
fn lists_come_in_pages() {
    let registry = RealRegistry::start();
    let client = client();
    let proxy = Faulty::before(&registry);
    let images = repository(&client, &proxy.reference("app"));
    for tag in ["1", "2", "3"] {
        push_image(&images, tag, tag);
        push_image(&repository(&client, &proxy.reference(&format!("app{tag}"))), "1", tag);
    }
    // A registry that wants smaller pages.
    let link = |path: &str| {
        format!("Link: </v2/{path}?last={}&n=1>; rel=\"next\"\r\n", if path == "_catalog" { "app" } else { "1" })
    };
    proxy.fault(
        "GET",
        "/_catalog?n=1000",
        1,
        Fault::Answer("200 OK", link("_catalog"), r#"{"repositories":["app"]}"#.to_owned()),
    );
    assert_eq!(client.catalog(proxy.host()).unwrap(), ["app", "app1", "app2", "app3"]);
    // One that knows nothing of pages.
    proxy.fault("GET", "/tags/list?n=1000", 1, Fault::Answer("400 Bad Request", String::new(), String::new()));
    assert_eq!(images.tags().unwrap(), ["1", "2", "3"]);
}

#[test]
fn a_registry_with_a_search_of_its_own_is_asked() {
    let registry = RealRegistry::start();
    let proxy = Faulty::before(&registry);
    let body = r#"{"num_results":2,"results":[{"name":"a","description":"x\u001b\ny","star_count":7,"is_official":true},{"name":null},{"name":"b"}]}"#;
    proxy.fault("GET", "/v1/search?q=a%20b&n=25", 1, Fault::Answer("200 OK", String::new(), body.to_owned()));
    let found = client().search(proxy.host(), "a b", 25).unwrap();
    let first = Hit { name: "a".to_owned(), description: "x y".to_owned(), stars: 7, official: true, automated: false };
    assert_eq!(found, [first, Hit { name: "b".to_owned(), ..Hit::default() }]);
}

#[test]
fn a_list_without_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    // Each page has one entry, and is followed by another.
    let serve = move |stream: std::net::TcpStream| -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut request = String::new();
            stream.read_line(&mut request)?;
            let Some(target) = request.strip_prefix("GET ") else { return Ok(()) };
            let (is_list, is_catalog) = (target.contains("?n="), target.contains("_catalog"));
            let mut header = String::new();
            while stream.read_line(&mut header)? > 2 {
                header.clear();
            }
            let (mut link, mut body) = (String::new(), "{}".to_owned());
            if is_list {
                let page = counter.fetch_add(1, Ordering::SeqCst);
                let list = if is_catalog { "_catalog" } else { "app/tags/list" };
                link = format!("Link: </v2/{list}?n=1&page={page}>; rel=\"next\"\r\n");
                body = format!(r#"{{"tags":["t{page}"],"repositories":["r{page}"]}}"#);
            }
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\n{link}Content-Length: {length}\r\n\r\n{body}");
            stream.get_mut().write_all(answer.as_bytes())?;
        }
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    let client = client();
    for list in [client.catalog(&host), repository(&client, &format!("{host}/app")).tags()] {
        let error = list.unwrap_err().to_string();
        assert!(error.ends_with(": its list has more than 1000 pages"), "{error}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2000);
}
