use super::*;

type Asked = Action<u8>;

/// A keeper in a home, whose router's outer address the rendezvous sees.
struct Home {
    keeper: Keeper<u8>,
    now: Instant,
}

const OUTER: Ipv4Addr = Ipv4Addr::new(11, 1, 1, 7);

fn observed(port: u16) -> Option<SocketAddr> {
    Some((OUTER, port).into())
}

fn own() -> Vec<SocketAddr> {
    vec!["192.168.1.7:4000".parse().expect("an address")]
}

fn grant(protocol: MappingProtocol, port: u16, handle: u8) -> Grant<u8> {
    Grant { protocol, external: SocketAddrV4::new(OUTER, port), lifetime: LIFETIME, handle }
}

fn told(actions: &[Asked]) -> Vec<Result<SocketAddr, String>> {
    let told = actions.iter().filter_map(|action| match action {
        Action::Tell(told) => Some(told.clone().map(|mapping| mapping.external)),
        _ => None,
    });
    told.collect()
}

fn released(actions: &[Asked]) -> Vec<u8> {
    let released = actions.iter().filter_map(|action| match action {
        Action::Release(handle) => Some(*handle),
        _ => None,
    });
    released.collect()
}

impl Home {
    fn new() -> Self {
        Home { keeper: Keeper::new(true), now: Instant::now() }
    }

    fn registered(&mut self, observed: Option<SocketAddr>) -> Vec<Asked> {
        self.keeper.handle_registered(observed, &own(), self.now);
        self.keeper.take_actions()
    }

    fn answer(&mut self, round: Round, answer: Result<Grant<u8>, String>) -> Vec<Asked> {
        self.keeper.handle_answer(round, answer, self.now);
        self.keeper.take_actions()
    }

    /// Whatever is due within this time.
    fn after(&mut self, span: Duration) -> Vec<Asked> {
        let end = self.now + span;
        let mut actions = Vec::new();
        while let Some(at) = self.keeper.poll_wakeup().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.keeper.handle_timeout(self.now);
            actions.extend(self.keeper.take_actions());
        }
        self.now = end;
        actions
    }

    /// With this port, given by PCP.
    fn with_port(port: u16) -> Self {
        let mut home = Home::new();
        let round = asked(&home.registered(observed(30_000)))[0].0;
        let said = home.answer(round, Ok(grant(MappingProtocol::Pcp, port, 1)));
        assert_eq!(told(&said), [Ok((OUTER, port).into())]);
        home
    }
}

fn asked(actions: &[Asked]) -> Vec<(Round, MappingProtocol)> {
    let asked = actions.iter().filter_map(|action| match action {
        Action::Ask { round, protocol, .. } => Some((*round, *protocol)),
        _ => None,
    });
    asked.collect()
}

fn renewals(actions: &[Asked]) -> Vec<Round> {
    let renewals = actions.iter().filter_map(|action| match action {
        Action::Renew { round, .. } => Some(*round),
        _ => None,
    });
    renewals.collect()
}

#[test]
fn nobody_is_asked_where_no_port_could_help() {
    let cases = [
        (None, "blocked"),
        (Some("127.0.0.1:4000".parse().expect("an address")), "this machine"),
        (Some("192.168.1.7:4000".parse().expect("an address")), "own address"),
        (Some("[2001:db8::7]:4000".parse().expect("an address")), "IPv6"),
    ];
    for (observed, word) in cases {
        let mut home = Home::new();
        let said = home.registered(observed);
        assert!(matches!(&told(&said)[..], [Err(reason)] if reason.contains(word)), "{said:?}");
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(home.keeper.poll_wakeup(), None);
    }
    let mut off = Home { keeper: Keeper::new(false), now: Instant::now() };
    let said = off.registered(observed(30_000));
    assert!(
        matches!(&told(&said)[..], [Err(reason)] if reason.contains("switched off")) && said.len() == 1,
        "{said:?}"
    );
}

#[test]
fn the_protocols_race_with_head_starts_and_the_first_answer_saves_the_rest() {
    let mut home = Home::new();
    let first = asked(&home.registered(observed(30_000)));
    assert_eq!(first.iter().map(|(_, protocol)| *protocol).collect::<Vec<_>>(), [MappingProtocol::Pcp]);
    let second = asked(&home.after(HEAD_START));
    assert_eq!(second.iter().map(|(_, protocol)| *protocol).collect::<Vec<_>>(), [MappingProtocol::NatPmp]);
    let said = home.answer(second[0].0, Ok(grant(MappingProtocol::NatPmp, 4000, 2)));
    assert_eq!(told(&said), [Ok((OUTER, 4000).into())]);
    assert_eq!(asked(&home.after(HEAD_START * 10)), [], "UPnP was not needed");
}

#[test]
fn who_refuses_does_not_hold_up_the_next_and_the_last_refusal_tells_all_reasons() {
    let mut home = Home::new();
    let mut round = asked(&home.registered(observed(30_000)))[0].0;
    for (answer, next) in [("PCP: no", MappingProtocol::NatPmp), ("NAT-PMP: no", MappingProtocol::Upnp)] {
        let said = home.answer(round, Err(answer.to_owned()));
        assert_eq!(asked(&said).iter().map(|(_, protocol)| *protocol).collect::<Vec<_>>(), [next]);
        round = asked(&said)[0].0;
    }
    let said = home.answer(round, Err("UPnP: no".to_owned()));
    assert_eq!(told(&said), [Err("PCP: no; NAT-PMP: no; UPnP: no".to_owned())]);
    assert_eq!(asked(&home.after(RETRY))[0].1, MappingProtocol::Pcp, "asked again later");
}

#[test]
fn an_answer_that_comes_too_late_is_given_back_unless_it_is_the_same_port() {
    let mut home = Home::new();
    let round = asked(&home.registered(observed(30_000)))[0].0;
    home.after(HEAD_START);
    home.answer(round, Ok(grant(MappingProtocol::NatPmp, 4000, 1)));
    assert_eq!(home.answer(round, Ok(grant(MappingProtocol::Pcp, 4000, 2))), []);
    assert_eq!(home.answer(round, Ok(grant(MappingProtocol::Upnp, 4001, 3))), [Action::Release(3)]);
}

#[test]
fn an_outer_address_that_the_rendezvous_does_not_see_is_no_candidate_and_is_given_back() {
    for outer in
        [[192, 168, 0, 2], [10, 0, 0, 2], [172, 16, 0, 2], [100, 64, 0, 2], [11, 1, 1, 8], [127, 0, 0, 1], [0, 0, 0, 0]]
    {
        let mut home = Home::new();
        let round = asked(&home.registered(observed(30_000)))[0].0;
        let external = SocketAddrV4::new(outer.into(), 4000);
        let said = home.answer(round, Ok(Grant { external, ..grant(MappingProtocol::Pcp, 4000, 9) }));
        assert_eq!((told(&said), released(&said)), (vec![], vec![9]), "{external}");
    }
}

#[test]
fn an_answer_of_no_use_does_not_count() {
    for (port, lifetime) in [(0, LIFETIME), (4000, Duration::ZERO), (4000, Duration::from_secs(1))] {
        let mut home = Home::new();
        let round = asked(&home.registered(observed(30_000)))[0].0;
        let said = home.answer(round, Ok(Grant { lifetime, ..grant(MappingProtocol::Pcp, port, 9) }));
        assert_eq!((told(&said), released(&said)), (vec![], vec![9]));
    }
}

#[test]
fn it_is_renewed_at_half_its_lifetime_and_a_promise_of_years_is_not_believed() {
    for (lifetime, renewed) in [(120, 60), (3600, 1800), (u64::from(u32::MAX), 1800)] {
        let mut home = Home::new();
        let round = asked(&home.registered(observed(30_000)))[0].0;
        let lifetime = Duration::from_secs(lifetime);
        home.answer(round, Ok(Grant { lifetime, ..grant(MappingProtocol::Pcp, 4000, 1) }));
        assert_eq!(home.after(Duration::from_secs(renewed - 1)), []);
        let round = renewals(&home.after(Duration::from_secs(1)))[0];
        assert_eq!(home.answer(round, Ok(grant(MappingProtocol::Pcp, 4000, 2))), [], "the same port: nothing to tell");
        assert_eq!(told(&home.answer(round, Ok(grant(MappingProtocol::Pcp, 4001, 3)))), [], "not asked any more");
    }
}

#[test]
fn a_renewal_that_fails_begins_a_race_and_only_its_end_takes_the_port_back() {
    let mut home = Home::with_port(4000);
    let round = renewals(&home.after(LIFETIME / 2))[0];
    let said = home.answer(round, Err("PCP: no answer".to_owned()));
    assert_eq!((asked(&said).len(), told(&said)), (1, vec![]));
    let mut round = asked(&said)[0].0;
    for _ in 0..2 {
        round = asked(&home.answer(round, Err("no".to_owned())))[0].0;
    }
    assert_eq!(told(&home.answer(round, Err("no".to_owned()))), [Err("no; no; no".to_owned())]);
}

#[test]
fn another_network_begins_anew_and_the_same_one_only_renews() {
    let mut home = Home::with_port(4000);
    assert_eq!(home.registered(observed(30_000)), [], "registered again, and nothing has changed");
    home.keeper.handle_network_change();
    let renewed = renewals(&home.registered(observed(30_000)));
    assert_eq!(home.answer(renewed[0], Ok(grant(MappingProtocol::Pcp, 4000, 1))), []);
    let said = home.registered(observed(30_001));
    assert_eq!(renewals(&said).len(), 1, "the router may have restarted");
    home.answer(renewals(&said)[0], Ok(grant(MappingProtocol::Pcp, 4000, 1)));
    let elsewhere = home.registered(Some("11.1.1.9:30000".parse().expect("an address")));
    assert_eq!((released(&elsewhere), asked(&elsewhere).len()), (vec![1], 1));
    assert!(matches!(&told(&elsewhere)[..], [Err(_)]), "the port of the old network leads nowhere");
    // An answer of the old network.
    assert_eq!(home.answer(renewed[0], Ok(grant(MappingProtocol::Pcp, 4000, 7))), [Action::Release(7)]);
}

#[test]
fn a_change_of_network_in_the_middle_of_a_race_begins_another() {
    let mut home = Home::new();
    let round = asked(&home.registered(observed(30_000)))[0].0;
    home.keeper.handle_network_change();
    let again = asked(&home.registered(observed(30_000)));
    assert_eq!(again.len(), 1);
    assert_eq!(home.answer(round, Err("PCP: no answer".to_owned())), [], "of the network before");
}

#[test]
fn who_leaves_gives_back_what_there_is_and_what_still_comes() {
    let mut home = Home::with_port(4000);
    home.keeper.stop();
    assert_eq!(home.keeper.take_actions(), [Action::Release(1)]);
    let mut home = Home::new();
    let round = asked(&home.registered(observed(30_000)))[0].0;
    home.keeper.stop();
    assert_eq!(home.answer(round, Ok(grant(MappingProtocol::Pcp, 4000, 5))), [Action::Release(5)]);
}
