//! `punchline service`: a unit of systemd for the user, see systemd.exec(5) for what it closes.

use std::fs;
use std::path::PathBuf;

use super::{Context, Stop};
use crate::exit::Failure;

const NAME: &str = "punchline.service";

pub(super) fn execute(context: &mut Context<'_>, install: bool) -> Result<(), Stop> {
    let unit = unit(context)?;
    if !install {
        context.printer.line(unit.trim_end())?;
        return Ok(());
    }
    let folder = folder()?;
    let path = folder.join(NAME);
    let failed = |error| Failure::other(format!("cannot write {}: {error}", path.display()));
    fs::create_dir_all(&folder).map_err(failed)?;
    fs::write(&path, unit).map_err(failed)?;
    context.printer.line(&format!(
        "{} is written. Now: systemctl --user daemon-reload && systemctl --user enable --now punchline",
        path.display()
    ))?;
    Ok(())
}

fn folder() -> Result<PathBuf, Failure> {
    let base = directories::BaseDirs::new().ok_or_else(|| Failure::other("your home folder is not known"))?;
    Ok(base.config_dir().join("systemd/user"))
}

/// With the options that this command was given.
fn unit(context: &Context<'_>) -> Result<String, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::other(format!("where am I? {error}")))?;
    let data = std::path::absolute(context.data.path()).map_err(|error| Failure::other(error.to_string()))?;
    let mut start = format!("{} run --data {}", quoted(&program)?, quoted(&data)?);
    let options = [
        (" --no-port-mapping", !context.port_mapping),
        (" --no-birthday", !context.birthday),
        (" --no-lan", !context.lan && !context.relay_only),
        (" --relay-only", context.relay_only),
    ];
    start.extend(options.into_iter().filter(|(_, set)| *set).map(|(option, _)| option));
    Ok(format!(
        "\
[Unit]
Description=Punchline, a messenger that gets through
Documentation=man:punchline(1)

[Service]
Type=notify
ExecStart={start}
StandardOutput=null
Restart=on-failure
RestartSec=5
# 2: it was never joined; 5: somebody shows a wrong key. Neither goes away by trying again.
RestartPreventExitStatus=2 5
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"
    ))
}

/// A word of a command line, as systemd.service(5) reads it.
fn quoted(path: &std::path::Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| Failure::other(format!("{} cannot stand in a unit", path.display())))?;
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_unit_means_itself() {
        let quoted = quoted(std::path::Path::new("/a b/100%/$HOME/\"x\"\\")).expect("text");
        assert_eq!(quoted, r#""/a b/100%%/$$HOME/\"x\"\\""#);
        super::quoted(std::path::Path::new("/a\nb")).expect_err("a line of its own");
    }
}
