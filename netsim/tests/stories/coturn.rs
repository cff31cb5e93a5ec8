//! What coturn says of the kernel's routers.

use netsim::model::behaviour::{Filtering, Mapping};
use netsim::model::{Behaviour, Survey, presets};
use netsim::netns::{Network, Router, in_namespaces, kernel_routers, kernel_site};

use crate::judge::{self, Case};

#[test]
fn coturn_judges_all_cells_and_every_preset_that_the_kernel_can_be_as_we_do() {
    in_namespaces(|| {
        let net = Network::new()?;
        let server = net.public_host("server")?;
        let addresses = [server.address().into(), server.add_address()?.into()];
        let Some(_coturn) = judge::start(&server, addresses)? else { return Ok(()) };
        let cells = Mapping::ALL.into_iter().flat_map(|mapping| {
            Filtering::ALL.map(|filtering| (format!("{mapping} x {filtering}"), vec![Router::cell(mapping, filtering)]))
        });
        let carried = ("a home behind a carrier".to_owned(), vec![Router::home(), Router::carrier()]);
        let presets = presets::all().into_iter().filter_map(|preset| {
            let routers = kernel_routers(&preset.access).ok().filter(|routers| !routers.is_empty())?;
            Some((preset.name.to_owned(), routers))
        });
        let mut cases = vec![];
        for (name, routers) in cells.chain([carried]).chain(presets) {
            let chain: Vec<Behaviour> = routers.iter().map(Router::behaviour).collect();
            let expected = Survey::of_chain(&chain.iter().collect::<Vec<_>>());
            cases.push(Case { name, host: kernel_site(&net, &routers)?("alice")?, expected });
        }
        assert!(cases.len() >= 9 + 1 + 11, "{}", cases.len());
        judge::judge(addresses[0], cases)
    });
}
