//! Bad files, each with its error.

use super::{Driver, Options, Scenario};

/// A file in which everything is right, and its parts.
const ROUTERS: &str = r#"
[routers.isp]
preset = "home"
carrier = true

[routers.home]
preset = "home"
behind = "isp"
"#;
const HOSTS: &str = r#"
[hosts.server]
addresses = 2

[hosts.alice]
behind = "home"
"#;
const PROGRAMS: &str = r#"
[programs.server]
host = "server"
command = ["serve", "--on", "{server.address2}:80"]

[programs.alice]
host = "alice"
command = ["ask", "{key}"]
env = { SEED = "{seed}" }
"#;
const STEPS: &str = r#"
[[steps]]
start = "server"

[[steps]]
expect = "server"
matches = "the key is (?<key>.*)"

[[steps]]
start = "alice"

[[steps]]
expect = "alice"
event = "answer"
where = { number = { above = 2 }, from = "{home.address}" }
within = 5
"#;

fn whole(title: &str, parts: [&str; 4]) -> String {
    format!("title = \"{title}\"\n{}", parts.concat())
}

fn read(text: &str) -> Result<Scenario, String> {
    Scenario::parse("x.toml", text).map_err(|problem| problem.to_string())
}

/// The good file with one change, and what is said about it.
fn changed(from: &str, to: &str) -> String {
    let good = whole("t", [ROUTERS, HOSTS, PROGRAMS, STEPS]);
    assert!(good.contains(from), "{from}");
    read(&good.replacen(from, to, 1)).err().unwrap_or_else(|| format!("{to}: accepted"))
}

#[test]
fn a_good_file_is_read_and_every_driver_of_real_programs_can_tell_it() {
    let scenario = read(&whole("t", [ROUTERS, HOSTS, PROGRAMS, STEPS])).unwrap();
    assert_eq!((scenario.title(), scenario.steps()), ("t", 4));
    assert_eq!(scenario.hosts().collect::<Vec<_>>(), ["alice", "server"]);
    for driver in [Driver::Netns, Driver::Wire] {
        driver.check(&scenario).unwrap();
    }
    let refused = Driver::Virtual.check(&scenario).unwrap_err();
    assert_eq!((refused.line, refused.field.as_deref()), (Some(23), Some("command")), "{refused}");
    assert_eq!(Driver::for_scenario(&scenario), Ok(Driver::Netns));
}

#[test]
fn an_error_names_file_line_and_field_and_what_would_be_right() {
    let changes = [
        // Not TOML, and not the shape of a scenario.
        ("title = \"t\"", "title = t"),
        ("title = \"t\"", "titel = \"t\""),
        ("preset = \"home\"", "preset = 3"),
        ("within = 5", "within = \"soon\""),
        ("addresses = 2", "addresses = 300"),
        ("addresses = 2", "adresses = 2"),
        ("within = 5", "wihtin = 5"),
        // Names of things that are not there.
        ("preset = \"home\"", "preset = \"hoem\""),
        ("preset = \"home\"", "preset = \"open\""),
        ("behind = \"isp\"", "behind = \"ips\""),
        ("behind = \"home\"", "behind = \"server\""),
        ("host = \"alice\"", "host = \"alcie\""),
        ("start = \"alice\"", "start = \"alcie\""),
        ("{server.address2}", "{server.address3}"),
        ("{server.address2}", "{server.adress}"),
        ("{key}", "{quay}"),
        ("{key}", "{key"),
        ("[hosts.server]", "[hosts.home]"),
        ("[hosts.server]", "[hosts.internet]"),
        ("[hosts.server]", "[hosts.\"a b\"]"),
        // A network that cannot be.
        ("carrier = true", "behind = \"home\""),
        ("carrier = true", "box = \"cardboard\""),
        ("carrier = true", "port-mapping = [\"upnp\", \"nat-pnp\"]"),
        ("preset = \"home\"", "preset = \"ipv6_firewall\"\nports = \"random\""),
        ("addresses = 2", "addresses = 0"),
        ("addresses = 2", "line = { loss = 1.5 }"),
        ("addresses = 2", "line = { delay = -1 }"),
        ("command = [\"ask\", \"{key}\"]", "command = []"),
        // Steps that are none.
        ("start = \"server\"", "wait = -1"),
        ("start = \"server\"", "at = 1"),
        ("start = \"server\"", "start = \"server\"\nkill = \"server\""),
        ("start = \"server\"", "start = \"server\"\nwithin = 3"),
        ("start = \"server\"", "send = \"hello\""),
        ("start = \"server\"", "roam = \"alice\""),
        ("start = \"server\"", "change = \"home\""),
        ("start = \"server\"", "reboot = \"alice\""),
        ("start = \"server\"", "kill = \"server\""),
        ("start = \"alice\"", "start = \"alice\"\nat = 3\n[[steps]]\nwait = 0\nat = 2"),
        ("event = \"answer\"", "says = \"x\""),
        ("matches = \"the key is (?<key>.*)\"", "matches = \"(\""),
        ("matches = \"the key is (?<key>.*)\"", "save = { key = \"key\" }\nsays = \"x\""),
        ("number = { above = 2 }", "number = { abvoe = 2 }"),
    ];
    let mut said = String::new();
    for (from, to) in changes {
        said += &format!("{}\n    {}\n", to.replace('\n', "; "), changed(from, to));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn what_only_the_model_can_do_is_refused_for_the_kernel_by_name_and_told_by_the_model() {
    let mut said = String::new();
    for (from, to) in [
        ("preset = \"home\"\ncarrier", "preset = \"mobile\"\ncarrier"),
        ("preset = \"home\"\nbehind", "preset = \"home\"\nfiltering = \"endpoint-independent\"\nbehind"),
        ("behind = \"isp\"", "behind = \"isp\"\nline = { delay = 0.02 }"),
        ("behind = \"isp\"", "behind = \"isp\"\nbox = \"model\""),
        ("behind = \"isp\"", "behind = \"isp\"\nbox = \"kernel\"\nline = { delay = 0.02 }"),
        ("addresses = 2", "addresses = 2\nline = { loss = 0.1 }"),
        ("start = \"alice\"", "change = \"alice\"\nline = { loss = 0.1 }\n[[steps]]\nstart = \"alice\""),
        ("start = \"alice\"", "cut = \"alice\"\n[[steps]]\nstart = \"alice\""),
        ("start = \"alice\"", "roam = \"alice\"\nbehind = \"internet\"\n[[steps]]\nstart = \"alice\""),
    ] {
        let good = whole("t", [ROUTERS, HOSTS, PROGRAMS, STEPS]);
        assert!(good.contains(from), "{from}");
        let scenario = read(&good.replacen(from, to, 1)).unwrap();
        assert_eq!(Driver::for_scenario(&scenario), Ok(Driver::Wire), "{to}");
        said += &format!("{}\n", Driver::Netns.check(&scenario).unwrap_err());
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_box_of_the_kernels_that_the_kernel_cannot_be_is_refused_everywhere() {
    let text = whole("t", [ROUTERS, HOSTS, PROGRAMS, STEPS]);
    let scenario = read(&text.replacen("\"home\"\ncarrier", "\"mobile\"\nbox = \"kernel\"\ncarrier", 1)).unwrap();
    let said = Driver::for_scenario(&scenario).unwrap_err().to_string();
    assert!(
        said.starts_with("x.toml:3: box: the driver wire has no kernel's box that could be `isp`: kernel rules do not"),
        "{said}"
    );
}

#[test]
fn ports_are_mapped_by_the_kernels_boxes_on_both_drivers_and_by_no_others() {
    let with = |text: &str| {
        let good = whole("t", [ROUTERS, HOSTS, PROGRAMS, STEPS]);
        read(&good.replacen("behind = \"isp\"", &format!("behind = \"isp\"\n{text}"), 1)).unwrap()
    };
    for mapping in ["true", "[\"upnp\", \"nat-pmp\", \"pcp\"]", "[\"pcp\"]"] {
        let asked = with(&format!("port-mapping = {mapping}"));
        assert_eq!(Driver::Netns.check(&asked), Ok(()));
        let said = Driver::Wire.check(&asked).unwrap_err().to_string();
        assert_eq!(
            said,
            "x.toml:7: port-mapping: the driver wire maps ports in the kernel's boxes only: add box = \"kernel\""
        );
        assert_eq!(Driver::Wire.check(&with(&format!("port_mapping = {mapping}\nbox = \"kernel\""))), Ok(()));
    }
    assert_eq!(Driver::Wire.check(&with("port-mapping = false")), Ok(()));
}

#[test]
fn the_examples_in_the_documentation_are_scenarios() {
    let page = include_str!("../../docs/scenarios.md");
    let first =
        include_str!("../../README.md").split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(Driver::for_scenario(&read(first).unwrap()), Ok(Driver::Netns));
    assert!(first.lines().count() <= 10);
    let examples: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [download, echo] = examples[..] else { panic!("{examples:?}") };
    assert_eq!(Driver::for_scenario(&read(download).unwrap()), Ok(Driver::Netns));
    assert!(download.lines().count() <= 10);
    let echo = read(echo).unwrap();
    assert_eq!(Driver::Virtual.check(&echo), Ok(()));
    let report = echo.tell(Driver::Virtual, &Options::default(), &mut |_| {}).unwrap();
    assert!(report.passed(), "{report}");
    // A tenth of a second each way.
    assert_eq!(report.took, std::time::Duration::from_millis(200));
}
