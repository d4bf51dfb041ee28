//! Where the pages are served, and whom they believe.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

/// Settings of the web pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReviewSettings {
    /// Where to listen; `None`: there are no pages. Off by default, so that nothing is served
    /// that nobody asked for.
    pub listen: Option<Listen>,
    /// How browsers reach the pages; needed for links in notices and for a proxy in front.
    pub public_url: Option<PublicUrl>,
    /// Peers whose word about the real client and the account counts. Beyond loopback, nobody
    /// else is served at all. Whoever connects to a UNIX socket counts as listed.
    pub trusted_proxies: Vec<IpNet>,
    /// Header in which a trusted proxy names the account, such as `x-remote-user`; lower case.
    pub user_header: Option<String>,
}

impl ReviewSettings {
    /// Returns the name of a header in lower case, or `None` when no header can have it.
    pub fn header_name(text: &str) -> Option<String> {
        let name = axum::http::HeaderName::try_from(text).ok()?;
        Some(name.as_str().to_owned())
    }
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP, without encryption.
    Inet(SocketAddr),
    /// A UNIX socket, mode 0660.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Inet(address) => write!(f, "inet:{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address of browsers, `https://mail.example.org`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

/// A text is not a public address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// Not `http://` or `https://`.
    #[error("is not a web address; write one like https://mail.example.org")]
    Scheme,
    /// No host, or characters no host has.
    #[error("has no usable host name; write one like https://mail.example.org:8443")]
    Host,
    /// A port that there is not.
    #[error("has no usable port; use one from 1 to 65535, or none")]
    Port,
    /// More than the root.
    #[error("has a path; the pages need a host name (or port) of their own")]
    Path,
    /// Passwords and links would travel in the clear.
    #[error("is not encrypted; use https, or http for localhost only")]
    Plain,
}

impl PublicUrl {
    /// Reads a public address.
    ///
    /// # Errors
    /// It is none, has a path, or is `http` for another host than this one.
    pub fn parse(text: &str) -> Result<PublicUrl, PublicUrlError> {
        let text = text.trim_end_matches('/').to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or(PublicUrlError::Scheme)?;
        if rest.contains(['/', '?', '#']) {
            return Err(PublicUrlError::Path);
        }
        let uri: axum::http::uri::Authority = rest.parse().map_err(|_| PublicUrlError::Host)?;
        if uri.host().is_empty() || rest.contains('@') {
            return Err(PublicUrlError::Host);
        }
        let port = rest.strip_prefix(uri.host()).unwrap_or_default();
        let known = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(known) {
            return Err(PublicUrlError::Port);
        }
        match scheme {
            "https" => {}
            "http" if is_this_host(uri.host()) => {}
            "http" => return Err(PublicUrlError::Plain),
            _ => return Err(PublicUrlError::Scheme),
        }
        Ok(PublicUrl(text))
    }

    /// Returns host and port as a browser sends them in `Host`.
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, rest)| rest)
    }

    /// Returns whether browsers come encrypted.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Returns the address of the page that `token` opens.
    pub fn link(&self, token: &str) -> String {
        format!("{}/r/{token}", self.0)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a host in a URL is the machine itself.
pub(super) fn is_this_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || (bare.parse::<std::net::IpAddr>()).is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_a_host_and_encrypted_beyond_this_one() {
        for (text, expected) in [
            ("https://mail.example.org", Ok("https://mail.example.org")),
            (
                "https://Mail.Example.org:8443/",
                Ok("https://mail.example.org:8443"),
            ),
            ("http://127.0.0.1:8890", Ok("http://127.0.0.1:8890")),
            ("http://[::1]:8890", Ok("http://[::1]:8890")),
            ("http://mail.example.org", Err(PublicUrlError::Plain)),
            (
                "https://mail.example.org/quarantine",
                Err(PublicUrlError::Path),
            ),
            ("https://", Err(PublicUrlError::Scheme)),
            ("https://x.example:99999", Err(PublicUrlError::Port)),
            ("https://[2001:db8::1]:0", Err(PublicUrlError::Port)),
            ("https://x.example:", Err(PublicUrlError::Port)),
            ("https://a b", Err(PublicUrlError::Host)),
            ("https://anna@mail.example.org", Err(PublicUrlError::Host)),
            ("mail.example.org", Err(PublicUrlError::Scheme)),
            ("javascript://x", Err(PublicUrlError::Scheme)),
        ] {
            let read = PublicUrl::parse(text).map(|url| url.to_string());
            assert_eq!(read, expected.map(str::to_owned), "{text}");
        }
        let url = PublicUrl::parse("https://mail.example.org:8443").unwrap();
        assert_eq!(url.authority(), "mail.example.org:8443");
        assert_eq!(url.link("T"), "https://mail.example.org:8443/r/T");
    }
}
