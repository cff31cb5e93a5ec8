//! What makes a router of a namespace that has an interface `lan` and an interface `wan`, whatever those are plugged into.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::{Error, Result};
use super::namespace::Namespace;
use super::nft;
use super::port_mapper::{PortMapper, PortMapping};
use super::router::Router;
use super::ruleset::{POWER_CUT, Place, Rules};

/// A router's rules and settings, loaded.
pub(crate) struct Firmware {
    rules: Rules,
    port_mapping: PortMapping,
    /// Runs from [`Firmware::start`] on, if ports are mapped at all.
    port_mapper: Mutex<Option<PortMapper>>,
    namespace: Arc<Namespace>,
}

impl Firmware {
    /// Loads all of it. To be done before there is an interface: not one packet passes without rules.
    pub(crate) fn install(namespace: &Arc<Namespace>, router: &Router, place: &Place) -> Result<Firmware> {
        let refused = |source| Error::NotByKernel { router: namespace.name().to_owned(), source };
        let rules = Rules::of(router).map_err(refused)?;
        nft::load(namespace, &rules.text(place))?;
        let seconds = |timeout: Duration| timeout.as_secs().max(1).to_string();
        // These settings exist once a rule has asked for connection tracking.
        namespace.set_sysctl("netfilter/nf_conntrack_udp_timeout", &seconds(router.udp_timeouts.unreplied))?;
        namespace.set_sysctl("netfilter/nf_conntrack_udp_timeout_stream", &seconds(router.udp_timeouts.stream))?;
        if rules.hairpin() {
            // Else each packet that turns round on the LAN is answered with the advice not to send it here.
            namespace.set_sysctl("ipv4/conf/all/send_redirects", "0")?;
            namespace.set_sysctl("ipv4/conf/default/send_redirects", "0")?;
        }
        let (port_mapping, port_mapper) = (router.port_mapping, Mutex::default());
        Ok(Firmware { rules, port_mapping, port_mapper, namespace: namespace.clone() })
    }

    /// Starts what runs in a router, once its interfaces are there and up; anew if it runs already.
    pub(crate) fn start(&self) -> Result<()> {
        let mut port_mapper = self.port_mapper.lock().unwrap_or_else(PoisonError::into_inner);
        *port_mapper = None;
        if self.port_mapping != PortMapping::NONE {
            *port_mapper = Some(PortMapper::start(&self.namespace, self.port_mapping)?);
        }
        Ok(())
    }

    pub(crate) fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// Forgets every mapping, as after a power cut; `place` is where it stands from now on.
    pub(crate) fn forget_mappings(&self, place: &Place) -> Result<()> {
        // Those that were asked for go first: without their rules no new session finds in.
        self.start()?;
        if !self.rules.record() {
            return self.namespace.flush_conntrack();
        }
        // Both memories must go at once: what passes between would be entered from the one that is left into the other.
        nft::load(&self.namespace, POWER_CUT)?;
        self.namespace.flush_conntrack()?;
        nft::load(&self.namespace, &self.rules.afresh(place))
    }
}
