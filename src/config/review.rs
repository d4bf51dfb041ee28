//! The keys below `review`: the web pages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::milter::listener::ListenAddress;
use crate::review::{Listen, PublicUrl, ReviewSettings};

use super::reader::{Reader, Section};
use super::socket::Sockets;
use super::value;

/// A network of proxies has at least so long a prefix; 10.0.0.0/8 is the largest anybody owns.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 16;
/// Where the addresses of IPv4 are within those of IPv6 (RFC 4291, 2.5.5.2).
const MAPPED: u8 = 96;

fn is_nearly_every_host(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < SHORTEST_V4,
        IpNet::V6(net) => {
            let mapped = net.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
            net.prefix_len() < SHORTEST_V6 || mapped && net.prefix_len() < MAPPED + SHORTEST_V4
        }
    }
}

/// Returns whether an address of this host is in the network.
fn holds_loopback(net: &IpNet) -> bool {
    let loopback = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
    ];
    net.addr().is_loopback() || loopback.iter().any(|address| net.contains(address))
}

/// Reads the section.
pub(super) fn review(
    r: &mut Reader,
    top: &mut Section<'_>,
    sockets: &mut Sockets,
) -> ReviewSettings {
    let mut section = r.sub(top, "review");
    let listen_field = r.field(&mut section, "listen");
    let listen = r.value(listen_field.clone(), |text| {
        match value::listen_address(text) {
            Ok(ListenAddress::Inet(address)) => Ok(Listen::Inet(address)),
            Ok(ListenAddress::Unix(path)) => Ok(Listen::Unix(path)),
            _ => Err(
                "is not a socket; write inet:127.0.0.1:8890 or unix:/run/straymail-worker/review.sock"
                    .to_owned(),
            ),
        }
    });
    if let (Some(field), Some(listen)) = (&listen_field, &listen) {
        sockets.take_page(r, field, listen);
    }
    let field = r.field(&mut section, "public_url");
    let public_url = r.value(field, |text| {
        PublicUrl::parse(text).map_err(|error| error.to_string())
    });
    let field = r.field(&mut section, "trusted_proxies");
    let problems = r.problems.len();
    let mut trusted_proxies = Vec::new();
    for item in r.list(field) {
        trusted_proxies.extend(r.value(Some(item), |text| match value::network(text)? {
            net if is_nearly_every_host(&net) => Err(
                "is nearly every host, and each of them would be believed who the client and which account it is; list the proxies alone"
                    .to_owned(),
            ),
            net => Ok(net),
        }));
    }
    let listed = !trusted_proxies.is_empty() || r.problems.len() > problems;
    let header_field = r.field(&mut section, "user_header");
    let user_header = r.value(header_field.clone(), |text| {
        ReviewSettings::header_name(text)
            .ok_or_else(|| "is not the name of a header; write one like X-Remote-User".to_owned())
    });
    r.end(section);
    if let (Some(field), Some(Listen::Inet(address))) = (&listen_field, &listen)
        && !address.ip().is_loopback()
        && !listed
    {
        let message = format!(
            "{address} can be reached from other hosts, without encryption; list the proxies that may in review.trusted_proxies, or use 127.0.0.1"
        );
        r.problem(field.at(), &field.path, message);
    }
    if let (Some(field), Some(Listen::Inet(_)) | None) = (&header_field, &listen) {
        if !listed {
            let message = "names accounts, but nobody is listed in review.trusted_proxies to be believed; list the proxy or listen on a UNIX socket";
            r.problem(field.at(), &field.path, message);
        } else if trusted_proxies.iter().any(holds_loopback) {
            let message = "any local process can claim to be any account by way of loopback; a UNIX socket keeps them out";
            r.warning(field.at(), &field.path, message);
        }
    }
    if let (Some(field), Some(_), None) = (&listen_field, &listen, &public_url) {
        let message = "has no review.public_url beside it, so notices carry no link";
        r.warning(field.at(), &field.path, message);
    }
    ReviewSettings {
        listen,
        public_url,
        trusted_proxies,
        user_header,
    }
}
