//! What a survey found, for people.

use netsim::model::{Family, Observed, Survey};
use serde::Serialize;

use super::Report;

/// The table's first line.
pub(super) const HEAD: &str = "KIND                            MAPPING                    FILTERING                  \
                               PORTS      HAIRPINNING    EARLY PROBE";

/// Two lines for what was measured, one for what was not.
pub(super) fn lines(report: &Report<'_, Survey, Survey>) -> String {
    pair(report, cells, cells)
}

/// The same for whatever was measured, with these cells of a line.
pub(super) fn pair<C: Serialize, M: Serialize>(
    report: &Report<'_, C, M>,
    configured_cells: impl Fn(&C) -> String,
    measured_cells: impl Fn(&M) -> String,
) -> String {
    match report {
        Report::NotMeasured { kind, family, because } => format!("{:<20} {because}", titled(kind, *family)),
        Report::Measured { kind, family, configured, measured, agrees } => {
            let (kind, verdict) = (titled(kind, *family), if *agrees { "agrees" } else { "DIFFERS" });
            let first = format!("{kind:<20} configured {}", configured_cells(configured));
            format!("{}\n{:<20} measured   {}  {verdict}", first.trim_end(), "", measured_cells(measured))
        }
    }
}

fn titled(kind: &str, family: Family) -> String {
    match family {
        Family::Ipv4 => kind.to_owned(),
        Family::Ipv6 => format!("{kind} ({family})"),
    }
}

fn cells(survey: &Survey) -> String {
    let Observed { translated, mapping, filtering, hairpinning, early_probe, ports, .. } = match survey {
        Survey::Udp(observed) => observed,
        Survey::TcpOnly => return format!("{:<98}", "no UDP gets out, TCP does"),
        Survey::Nothing => return format!("{:<98}", "neither UDP nor TCP gets out"),
    };
    let mapping = if *translated { mapping.to_string() } else { "none: its own address".to_owned() };
    let hairpinning = match hairpinning {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not applicable",
    };
    format!("{mapping:<26} {filtering:<26} {ports:<10} {hairpinning:<14} {early_probe:<17}")
}
