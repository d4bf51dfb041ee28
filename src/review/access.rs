//! Who asks: the peer, the client behind it, and the account; and whether a form is ours.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::hexadecimal;
use crate::service::account::AccountRole;
use crate::untrusted::Untrusted;

use super::failure::Failure;
use super::fields::Fields;
use super::settings::{Listen, is_this_host};
use super::{Shared, Site};

/// What no page needs is not allowed: no scripts, no frames, no other host. `data:` images stay
/// out too; the style sheet is the only thing a page may load.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    /// Whoever may connect to our UNIX socket.
    Unix,
    /// A host.
    Inet(IpAddr),
}

/// Where a request comes from, as far as we believe it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The client's address, or `local`.
    pub(super) client: String,
    /// Whether the peer's word counts.
    trusted: bool,
}

impl Site {
    fn source(&self, peer: Peer, headers: &HeaderMap) -> Source {
        let proxies = &self.settings.trusted_proxies;
        let listed = |address: &IpAddr| proxies.iter().any(|net| net.contains(address));
        let trusted = match peer {
            Peer::Unix => true,
            Peer::Inet(address) => listed(&address),
        };
        // Each proxy appends whom it saw. From the right, the first that is no proxy of ours is
        // the client; what stands before it, the client may have made up.
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let forwarded: Vec<&str> = forwarded.filter_map(|value| value.to_str().ok()).collect();
        let seen = forwarded.join(",");
        let client = (seen.rsplit(','))
            .map_while(|text| text.trim().parse::<IpAddr>().ok())
            .find(|address| !listed(address))
            .filter(|_| trusted);
        let client = match (client, peer) {
            (Some(client), _) => client.to_string(),
            (None, Peer::Inet(address)) => address.to_string(),
            (None, Peer::Unix) => "local".to_owned(),
        };
        Source { client, trusted }
    }

    /// Returns whether `Host` names us. A page of somebody else whose name was made to lead here
    /// (DNS rebinding) does not.
    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let public = self.settings.public_url.as_ref();
        if public.is_some_and(|url| url.authority() == host) {
            return true;
        }
        if let Some(Listen::Inet(address)) = &self.settings.listen
            && host == address.to_string()
        {
            return true;
        }
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &host,
        };
        is_this_host(name)
    }
}

/// Turns away what is not for us, and tells browsers to be careful with what is.
pub(super) async fn guard(
    State(site): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let response = match check(&site, &mut request) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    careful(response)
}

fn check(site: &Site, request: &mut Request) -> Result<(), Failure> {
    let peer = *request
        .extensions()
        .get::<Peer>()
        .ok_or_else(Failure::internal)?;
    let source = site.source(peer, request.headers());
    let local = match peer {
        Peer::Unix => true,
        Peer::Inet(address) => address.is_loopback(),
    };
    if !local && !source.trusted {
        return Err(Failure::forbidden(
            "Only the proxies listed in review.trusted_proxies are served here.",
        ));
    }
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if !header(header::HOST).is_some_and(|host| site.is_ours(host)) {
        return Err(Failure::misdirected());
    }
    if request.method() == Method::POST {
        // Referrer-Policy: no-referrer makes browsers say `Origin: null` about our own forms.
        let origin = header(header::ORIGIN).filter(|origin| *origin != "null");
        let authority = origin.map(|origin| origin.split_once("://").map_or("", |(_, a)| a));
        let ours = match header(header::HeaderName::from_static("sec-fetch-site")) {
            Some(site) => site == "same-origin",
            None => authority.is_none_or(|authority| site.is_ours(authority)),
        };
        if !ours {
            return Err(Failure::forbidden("This form was sent from another site."));
        }
    }
    request.extensions_mut().insert(source);
    Ok(())
}

fn careful(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Makes the hidden field that shows that a form came from a page of ours.
pub(super) struct Seal([u8; 64]);

impl Seal {
    /// Draws a key; forms of an earlier run do not count any more.
    pub(super) fn random() -> Result<Seal, getrandom::Error> {
        let mut key = [0; 64];
        getrandom::fill(&mut key)?;
        Ok(Seal(key))
    }

    fn mac(&self, holder: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.0.into());
        mac.update(holder.as_bytes());
        mac
    }

    /// Returns the field for whoever holds `holder`, which nobody else knows.
    pub(super) fn make(&self, holder: &str) -> String {
        let code = self.mac(holder).finalize().into_bytes();
        hexadecimal::encode(&code)
    }

    /// Returns whether the field is that of `holder`; compares in constant time.
    pub(super) fn fits(&self, holder: &str, field: &str) -> bool {
        let octets: Option<Vec<u8>> = (field.as_bytes().chunks(2))
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        octets.is_some_and(|code| self.mac(holder).verify_slice(&code).is_ok())
    }
}

/// The two cookies we set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cookie {
    Session,
    /// Holds the seal of the login form: there is no session yet.
    Login,
}

impl Cookie {
    fn name(self, https: bool) -> &'static str {
        // The prefix makes browsers insist on Secure, our host and the root path.
        match (self, https) {
            (Cookie::Session, true) => "__Host-straymail",
            (Cookie::Session, false) => "straymail",
            (Cookie::Login, true) => "__Host-straymail-login",
            (Cookie::Login, false) => "straymail-login",
        }
    }

    /// Returns the cookie's value in a request.
    pub(super) fn find(self, site: &Site, headers: &HeaderMap) -> Option<String> {
        let name = self.name(site.https());
        let cookies = headers.get_all(header::COOKIE).iter();
        (cookies.filter_map(|line| line.to_str().ok()))
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(found, value)| (found == name).then(|| value.to_owned()))
    }

    /// Returns the header that sets the cookie; an empty value removes it.
    pub(super) fn set(self, site: &Site, value: &str) -> String {
        let name = self.name(site.https());
        let secure = if site.https() { "; Secure" } else { "" };
        let end = if value.is_empty() { "; Max-Age=0" } else { "" };
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{end}")
    }
}

impl Site {
    fn https(&self) -> bool {
        let url = self.settings.public_url.as_ref();
        url.is_some_and(super::PublicUrl::is_https)
    }
}

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) name: String,
    pub(super) role: AccountRole,
    /// The hidden field for this visitor's forms.
    pub(super) seal: String,
    /// What the seal was made for.
    holder: String,
    /// Whether there is a session that can be ended.
    pub(super) can_log_out: bool,
    client: String,
}

impl Visitor {
    /// Checks that the role is enough.
    pub(super) fn require(&self, role: AccountRole) -> Result<(), Failure> {
        if self.role >= role {
            return Ok(());
        }
        Err(Failure::forbidden(format!(
            "{} is a {}, and this takes a {role}.",
            self.name, self.role
        )))
    }

    /// Returns who this is for the audit record: `web anna (192.0.2.7)`.
    pub(super) fn actor(&self) -> String {
        format!("web {} ({})", self.name, self.client)
    }
}

async fn visitor(site: &Shared, parts: &Parts) -> Result<Visitor, Failure> {
    let source = parts.extensions.get::<Source>().cloned();
    let source = source.ok_or_else(Failure::internal)?;
    let vouched = (site.settings.user_header.as_ref())
        .filter(|_| source.trusted)
        .map(|header| parts.headers.get_all(header).iter());
    let mut vouched = vouched.into_iter().flatten();
    let (first, second) = (vouched.next(), vouched.next());
    if second.is_some() {
        // One is the proxy's word and the other the client's, and nobody can tell them apart.
        return Err(Failure::forbidden(
            "The header of the account came twice. The proxy must replace what clients send, not add to it.",
        ));
    }
    let vouched = first.map(|name| Untrusted(name.as_bytes()).to_string().to_ascii_lowercase());
    let (name, stamp, holder) = match vouched {
        Some(name) => {
            let holder = format!("proxy {name}");
            (name, None, holder)
        }
        None => {
            let cookie = Cookie::Session.find(site, &parts.headers);
            let session =
                (cookie.as_ref()).and_then(|cookie| site.sessions.find(cookie, Instant::now()));
            let (Some(cookie), Some(session)) = (cookie, session) else {
                return Err(Failure::logged_out(parts));
            };
            (session.account, Some(session.stamp), cookie)
        }
    };
    let asked = name.clone();
    let account = site
        .ask(move |site| Ok(site.accounts.find(&asked)?))
        .await?;
    let Some(account) = account else {
        return Err(match stamp {
            Some(_) => Failure::logged_out(parts),
            None => Failure::forbidden(format!(
                "The proxy vouches for {name}, but there is no such account. An admin can add it: straymail reviewer add NAME --role ROLE --no-password"
            )),
        });
    };
    // A changed password ends the sessions that the old one began.
    if stamp.as_ref().is_some_and(|stamp| stamp != account.stamp()) {
        return Err(Failure::logged_out(parts));
    }
    Ok(Visitor {
        role: account.role,
        name,
        seal: site.seal.make(&holder),
        holder,
        can_log_out: stamp.is_some(),
        client: source.client,
    })
}

impl FromRequestParts<Shared> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, site: &Shared) -> Result<Self, Failure> {
        visitor(site, parts).await
    }
}

/// A form that somebody with an account sent from a page of ours.
pub(super) struct Form {
    pub(super) visitor: Visitor,
    pub(super) fields: Fields,
}

impl FromRequest<Shared> for Form {
    type Rejection = Failure;

    async fn from_request(request: Request, site: &Shared) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let visitor = visitor(site, &parts).await?;
        let fields = Fields::of_form(Request::from_parts(parts, body)).await?;
        if !site.seal.fits(&visitor.holder, fields.get("seal")) {
            return Err(Failure::stale());
        }
        Ok(Form { visitor, fields })
    }
}

impl FromRequestParts<Shared> for Source {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Failure> {
        let source = parts.extensions.get::<Source>().cloned();
        source.ok_or_else(Failure::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_fits_its_holder_only() {
        let seal = Seal::random().unwrap();
        let field = seal.make("anna");
        assert!(seal.fits("anna", &field));
        for (holder, field) in [
            ("berta", field.as_str()),
            ("anna", ""),
            ("anna", "zz"),
            ("anna", "é"),
        ] {
            assert!(!seal.fits(holder, field));
        }
        assert!(!Seal::random().unwrap().fits("anna", &field));
    }
}
