//! Single values of the configuration: text in, typed value or the sentence that helps out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::milter::listener::ListenAddress;
use crate::smtp::Target;

/// Returns the duration of `15m`, `1h30m`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "is not a duration; write a number with s, m, h or d, like 15m".to_owned();
    let mut seconds = 0u64;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let value: u64 = number.parse().map_err(|_| wrong())?;
        number.clear();
        seconds = value
            .checked_mul(unit)
            .and_then(|value| seconds.checked_add(value))
            .ok_or_else(wrong)?;
    }
    if number.is_empty() && !text.is_empty() {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(wrong())
    }
}

/// Returns `duration` as the configuration writes it.
pub(super) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// Returns the bytes of `512MiB` or `1GB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "is not a size; write a number with KiB, MiB or GiB, like 512MiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text
        .split_at_checked(digits.unwrap_or(text.len()))
        .ok_or_else(wrong)?;
    let factor = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Returns the permission bits of `0660`.
pub(super) fn permissions(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && digits.len() >= 3 => Ok(mode),
        _ => Err("is not a file mode; write four octal digits, like 0660".to_owned()),
    }
}

/// Returns the address of a listener: `unix:/path`, `inet:127.0.0.1:8891`, or as Sendmail
/// writes it, `local:/path` and `inet:8891@127.0.0.1`; or `systemd:1`, a socket passed on.
pub(super) fn listen_address(text: &str) -> Result<ListenAddress, String> {
    let wrong = || {
        "is not a socket; write unix:/run/straymail/milter.sock or inet:127.0.0.1:8891".to_owned()
    };
    let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
    match kind {
        "unix" | "local" => {
            let path = PathBuf::from(rest);
            if !path.is_absolute() {
                return Err(
                    "is not absolute; write the whole path, like unix:/run/straymail/milter.sock"
                        .to_owned(),
                );
            }
            // sockaddr_un holds 108 bytes with the final NUL (unix(7)).
            if rest.len() > 107 {
                return Err("is longer than the 107 bytes a socket path may have".to_owned());
            }
            Ok(ListenAddress::Unix(path))
        }
        "inet" | "inet6" => match rest.split_once('@') {
            Some((port, host)) => {
                let port: u16 = port.parse().map_err(|_| wrong())?;
                Ok(ListenAddress::Inet(SocketAddr::new(
                    host_address(host).ok_or_else(wrong)?,
                    nonzero(port)?,
                )))
            }
            None => Ok(ListenAddress::Inet(host_port(rest).ok_or_else(wrong)??)),
        },
        "systemd" => match rest.parse() {
            Ok(nth @ 1..=100) => Ok(ListenAddress::Systemd(nth)),
            _ => Err("is not a socket of systemd; the first one is systemd:1".to_owned()),
        },
        _ => Err(wrong()),
    }
}

/// Returns a plain mail address of our own, in lower case.
pub(super) fn mailbox(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
    match text.rsplit_once('@') {
        Some((local, host))
            if !local.is_empty()
                && text.len() <= 254
                && host.contains('.')
                && local.chars().chain(host.chars()).all(plain) =>
        {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err("is not a plain address; write one like straymail@example.org".to_owned()),
    }
}

/// Returns where `127.0.0.1:25`, `[::1]:25`, `localhost:25` or `unix:/path` leads to.
pub(super) fn smtp_target(text: &str) -> Result<Target, String> {
    let wrong = || {
        "is not an address with a port; write one without a name to look up, like 127.0.0.1:25"
            .to_owned()
    };
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(Target::Unix(PathBuf::from(path))),
        Some(_) => {
            Err("is not absolute; write the whole path, like unix:/run/smtp.sock".to_owned())
        }
        None => Ok(Target::Tcp(host_port(text).ok_or_else(wrong)??.to_string())),
    }
}

fn host_port(text: &str) -> Option<Result<SocketAddr, String>> {
    let (host, port) = text.rsplit_once(':')?;
    let (host, port) = (host_address(host)?, port.parse().ok()?);
    Some(nonzero(port).map(|port| SocketAddr::new(host, port)))
}

fn host_address(host: &str) -> Option<IpAddr> {
    if host == "localhost" {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

fn nonzero(port: u16) -> Result<u16, String> {
    match port {
        0 => Err("has port 0; use a port from 1 to 65535".to_owned()),
        port => Ok(port),
    }
}

/// Returns the network of `10.0.0.0/8`, `::1` or `192.0.2.7`.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || "is not a network; write one like 10.0.0.0/8 or 2001:db8::/32".to_owned();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let net: IpNet = text.parse().map_err(|_| wrong())?;
    if net.addr() != net.network() {
        return Err(format!(
            "has bits beyond its prefix; did you mean {}/{}?",
            net.network(),
            net.prefix_len()
        ));
    }
    Ok(net)
}

/// Returns the moment of `2027-01-31` (its first second, UTC) or `2027-01-31T12:00:00Z`.
pub(super) fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment);
    }
    (text.parse::<jiff::civil::Date>())
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
        .map(|zoned| zoned.timestamp())
        .map_err(|_| {
            "is not a date; write one like 2027-01-31 or 2027-01-31T12:00:00Z (UTC)".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_an_admin_writes_them() {
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for bad in [
            "",
            "15",
            "m",
            "1.5h",
            "-1s",
            "15 m",
            "99999999999999999999s",
            "1w",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn duration_text_reads_back() {
        for seconds in [0, 1, 60, 90, 900, 3600, 86_400 * 3] {
            let duration_value = Duration::from_secs(seconds);
            assert_eq!(duration(&duration_text(duration_value)), Ok(duration_value));
        }
    }

    #[test]
    fn sizes_know_both_kinds_of_units() {
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        assert_eq!(size("1GB"), Ok(1_000_000_000));
        for bad in ["", "512", "MiB", "5XiB", "99999999999999TiB", "-1MiB", "é"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sockets_are_read_in_postfix_and_sendmail_spelling() {
        let inet = ListenAddress::Inet("127.0.0.1:8891".parse().unwrap());
        assert_eq!(listen_address("inet:127.0.0.1:8891"), Ok(inet.clone()));
        assert_eq!(listen_address("inet:8891@127.0.0.1"), Ok(inet.clone()));
        assert_eq!(listen_address("inet:localhost:8891"), Ok(inet));
        let six = ListenAddress::Inet("[::1]:8891".parse().unwrap());
        assert_eq!(listen_address("inet6:8891@::1"), Ok(six.clone()));
        assert_eq!(listen_address("inet:[::1]:8891"), Ok(six));
        let unix = ListenAddress::Unix("/run/a.sock".into());
        assert_eq!(listen_address("unix:/run/a.sock"), Ok(unix.clone()));
        assert_eq!(listen_address("local:/run/a.sock"), Ok(unix));
        for bad in [
            "/run/a.sock",
            "unix:a.sock",
            "inet:8891",
            "inet:0@::1",
            "tcp:1.2.3.4:1",
        ] {
            assert!(listen_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn released_mail_goes_to_an_address_without_a_name_to_look_up() {
        let tcp = |text: &str| Ok(Target::Tcp(text.to_owned()));
        assert_eq!(smtp_target("localhost:25"), tcp("127.0.0.1:25"));
        assert_eq!(smtp_target("[::1]:2525"), tcp("[::1]:2525"));
        assert_eq!(
            smtp_target("unix:/run/lmtp"),
            Ok(Target::Unix("/run/lmtp".into()))
        );
        for bad in [
            "mail.example.org:25",
            "127.0.0.1",
            "127.0.0.1:0",
            "unix:lmtp",
            "",
        ] {
            assert!(smtp_target(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_network_with_host_bits_is_a_mistake() {
        assert_eq!(
            network("10.1.2.3/8"),
            Err("has bits beyond its prefix; did you mean 10.0.0.0/8?".to_owned())
        );
        assert_eq!(network("::1"), Ok("::1/128".parse().unwrap()));
    }

    #[test]
    fn a_date_begins_with_its_first_second() {
        let midnight: jiff::Timestamp = "2027-01-31T00:00:00Z".parse().unwrap();
        assert_eq!(moment("2027-01-31"), Ok(midnight));
        assert!(moment("31.01.2027").is_err());
    }

    #[test]
    fn permissions_are_octal() {
        assert_eq!(permissions("0660"), Ok(0o660));
        assert_eq!(permissions("660"), Ok(0o660));
        for bad in ["0888", "1777", "rw-rw----", "6", "01777"] {
            assert!(permissions(bad).is_err(), "{bad:?}");
        }
    }
}
