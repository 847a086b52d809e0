//! Random routes and random requests: what is explained is what happens.

use std::collections::BTreeSet;

use http::{Method, Request};

use super::super::{FILE, folder, intertie};
use super::explain_in;
use crate::harness::{Client, Origin, Server, answer, full};

/// Random routes in a file, each with a service of its own, and random requests. Seeded: every run is the same.
struct Dice(fastrand::Rng);

impl Dice {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.0.usize(..of.len())]
    }

    fn path(&mut self, segments: &[&str], ends: &[&str]) -> String {
        let count = self.0.usize(0..4);
        let mut path: String = (0..count).map(|_| format!("/{}", self.one(segments))).collect();
        path.push_str(self.one(ends));
        if path.is_empty() { "/".to_owned() } else { path }
    }

    fn route(&mut self) -> String {
        let mut keys = Vec::new();
        let host = self.one(&["", "", "shop.example", "*.example", "*.shop.example", "api.shop.example"]);
        keys.extend((!host.is_empty()).then(|| format!("host = \"{host}\"")));
        let path = self.path(&["orders", "items", "a%20b", "{id}", "*"], &["", "", "/", "/**"]);
        keys.push(format!("path = \"{path}\""));
        let choices = ["", "", "method = \"GET\"", "method = [\"GET\", \"POST\"]", "method = \"DELETE\""];
        keys.push(self.one(&choices).to_owned());
        let choices = [
            "",
            "",
            "headers = { x-v = \"1\" }",
            "headers = { x-v = \"*\" }",
            "headers = { x-v = \"2\", x-t = \"*\" }",
        ];
        keys.push(self.one(&choices).to_owned());
        let choices = [
            "",
            "",
            "",
            "query = { page = \"1\" }",
            "query = { page = \"*\" }",
            "query = { \"a b\" = \"ä\" }",
        ];
        keys.push(self.one(&choices).to_owned());
        keys.retain(|key| !key.is_empty());
        format!("match = {{ {} }}", keys.join(", "))
    }

    fn request(&mut self) -> (Method, String, String, Vec<(&'static str, &'static str)>) {
        let method = self.one(&["GET", "GET", "POST", "DELETE", "HEAD"]).parse().expect("a method");
        let host = self.one(&[
            "shop.example",
            "SHOP.example",
            "api.shop.example",
            "a.b.example",
            "shop.example.",
            "example",
            "other.test",
        ]);
        let port = self.one(&["", "", ":8080"]);
        let segments = ["orders", "orders", "items", "a%20b", "%6frders", "7", "", "a%2Fb", ".%2e", "%zz"];
        let mut target = self.path(&segments, &["", "", "/"]);
        target.push_str(self.one(&[
            "",
            "",
            "",
            "?page=1",
            "?page=2&page=1",
            "?pa%67e=1",
            "?page",
            "?a%20b=%C3%A4",
        ]));
        let headers: [&[_]; 6] = [
            &[],
            &[("x-v", "1")],
            &[("x-v", "2")],
            &[("x-v", "2"), ("x-t", "a")],
            &[("x-v", "1"), ("x-v", "1")],
            &[("x-t", "")],
        ];
        (method, format!("{host}{port}"), target, headers[self.0.usize(..headers.len())].to_vec())
    }
}

/// Routes of which no two tie: of each pair that `check` names, the one is left out.
fn routes_without_ties(dice: &mut Dice) -> Vec<String> {
    let routes: Vec<_> = (0..60).map(|_| dice.route()).collect();
    let sections = routes.iter().enumerate().map(|(n, route)| format!("[route.r{n}]\nto = \"s\"\n{route}\n"));
    let text =
        format!("[service.s]\nendpoints = [{{ at = \"127.0.0.1:7001\" }}]\n{}", sections.collect::<String>());
    let run = intertie(folder(text).path(), &["check", FILE]);
    let ties = run.stderr.lines().filter_map(|line| line.strip_prefix("error: routes `")?.split('`').nth(2));
    let ties: BTreeSet<_> =
        ties.map(|name| name.trim_start_matches('r').parse::<usize>().expect("a number")).collect();
    let kept = routes.into_iter().enumerate().filter(|(n, _)| !ties.contains(n));
    kept.map(|(_, route)| route).collect()
}

#[tokio::test]
async fn live_traffic_does_what_explain_says() {
    let mut dice = Dice(fastrand::Rng::with_seed(4));
    let mut text = String::new();
    let mut services = Vec::new();
    for (number, route) in routes_without_ties(&mut dice).into_iter().enumerate() {
        let service =
            Origin::start(move |_| async move { answer(200, &[("x-service", &format!("s{number}"))], "") })
                .await;
        text.push_str(&format!(
            "[service.s{number}]\nendpoints = [{{ at = \"{}\" }}]\n\n[route.r{number}]\nto = \"s{number}\"\n{route}\n\n",
            service.address
        ));
        services.push(service);
    }
    assert!(services.len() >= 30, "{} routes are a small set", services.len());
    let server = Server::start(&text);
    let folder = folder(&text);
    let mut outcomes = BTreeSet::new();
    for _ in 0..200 {
        let (method, host, target, headers) = dice.request();
        let mut request = Request::builder().method(&method).uri(&target).header("host", &host);
        // The host stands in the URL or in its header; to a server both are the same.
        let mut arguments = match dice.one(&["URL", "header"]) {
            "URL" => vec![method.to_string(), format!("http://{host}{target}")],
            _ => vec![method.to_string(), target.clone(), "-H".to_owned(), format!("Host: {host}")],
        };
        for (name, value) in headers {
            request = request.header(name, value);
            arguments.extend(["-H".to_owned(), format!("{name}: {value}")]);
        }
        let live = Client::new(server.address).send(request.body(full("")).expect("a request")).await;
        let outcome = live.header("x-service").map_or_else(|| live.status.to_string(), str::to_owned);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let told = explain_in(folder.path(), &arguments);
        let expected = match live.header("x-service") {
            Some(service) => format!("takes route `{}` (", service.replace('s', "r")),
            None => format!("is answered {outcome}:"),
        };
        assert!(
            told.stdout.contains(&expected),
            "{arguments:?} is answered by {outcome}, not\n{}",
            told.stdout
        );
        assert_eq!(told.code, i32::from(live.status != 200), "{arguments:?}");
        if let Some(allowed) = live.header("allow") {
            assert!(
                told.stdout.contains(&format!("this path takes {allowed}\n")),
                "{arguments:?}: {}",
                told.stdout
            );
        }
        outcomes.insert(outcome);
    }
    for status in ["400", "404", "405"] {
        assert!(outcomes.contains(status), "some request is answered {status}: {outcomes:?}");
    }
    assert!(outcomes.len() >= 15, "requests spread over the routes: {outcomes:?}");
}
