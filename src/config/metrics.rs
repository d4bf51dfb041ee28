//! The keys below `metrics`: where figures are served.

use crate::milter::listener::ListenAddress;
use crate::review::{Listen, MetricsSettings};

use super::reader::{Reader, Section};
use super::socket::Sockets;
use super::value;

/// Reads the section.
pub(super) fn metrics(
    r: &mut Reader,
    top: &mut Section<'_>,
    sockets: &mut Sockets,
) -> MetricsSettings {
    let mut section = r.sub(top, "metrics");
    let field = r.field(&mut section, "listen");
    let listen = r.value(field.clone(), |text| match value::listen_address(text) {
        Ok(ListenAddress::Inet(address)) if !address.ip().is_loopback() => Err(
            "can be reached from other hosts, without a login; use 127.0.0.1 and let an agent on this host ask".to_owned(),
        ),
        Ok(ListenAddress::Inet(address)) => Ok(Listen::Inet(address)),
        Ok(ListenAddress::Unix(path)) => Ok(Listen::Unix(path)),
        _ => Err(
            "is not a socket; write inet:127.0.0.1:8892 or unix:/run/straymail-worker/metrics.sock"
                .to_owned(),
        ),
    });
    if let (Some(field), Some(listen)) = (&field, &listen) {
        sockets.take_page(r, field, listen);
    }
    r.end(section);
    MetricsSettings { listen }
}
