//! The review pages over a quarantine of their own, and a browser without a screen.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use straymail::domain::Domain;
use straymail::logging;
use straymail::notice::{NoticeSettings, Templates};
use straymail::octets::Octets;
use straymail::policy::{Policy, Role};
use straymail::public_suffix::PublicSuffixes;
use straymail::review::{Listen, Review, ReviewSettings};
use straymail::score::{Context, ScoreSettings, Scorer};
use straymail::service::account::{AccountRole, Accounts};
use straymail::service::quarantine::{Quarantine, QuarantineSettings};
use straymail::service::token::Tokens;
use straymail::service::worker::{Worker, WorkerSettings};
use straymail::service::{Service, Snapshot};
use straymail::session::Gate;
use straymail::smtp::Target;
use straymail::spool::{Envelope, HeldRecipient};
use straymail::store::EntryId;
use straymail::trusted::TrustedList;

/// The password of every account of the tests.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// What the tests trust.
const TRUSTED: &str = "army.mil\nnavy.mil\ngmail.com\nexample.com\nstate.gov\n.gov.uk\n";

/// The pages, served by a thread that ends with the process.
pub(crate) struct Pages {
    pub(crate) service: Arc<Service>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) accounts: Accounts,
    pub(crate) address: SocketAddr,
    _dir: tempfile::TempDir,
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a test is served in real time")]
    Timestamp::now()
}

impl Pages {
    /// Serves pages with these settings, except for the address; releases go to `mta`.
    pub(crate) fn start(settings: ReviewSettings, mta: u16) -> Result<Pages> {
        let dir = tempfile::tempdir()?;
        let quarantine = Quarantine::open(
            QuarantineSettings {
                dir: dir.path().to_owned(),
                min_free_bytes: 0,
                grace: Duration::ZERO,
                release_target: Target::Tcp(format!("127.0.0.1:{mta}")),
                ..QuarantineSettings::default()
            },
            now(),
        )?;
        let suffixes = PublicSuffixes::built_in();
        let mut list = TrustedList::new();
        let problems = list.add_text(TRUSTED, Path::new("test"), &suffixes);
        anyhow::ensure!(problems.is_empty(), "{problems:?}");
        let snapshot = Snapshot {
            scorer: Scorer::new(list, ScoreSettings::default()),
            suffixes,
            policy: Policy::default(),
            gate: Gate::default(),
            help: String::new(),
        };
        let log = logging::discard();
        let service = Service::new(snapshot, Arc::new(quarantine), None, log, now, 1);
        let service = Arc::new(service);
        let tokens = Arc::new(Tokens::open(dir.path(), now())?);
        let settings = ReviewSettings {
            listen: Some(
                settings
                    .listen
                    .unwrap_or(Listen::Inet(([127, 0, 0, 1], 0).into())),
            ),
            ..settings
        };
        let unix = matches!(settings.listen, Some(Listen::Unix(_)));
        let (send, receive) = std::sync::mpsc::channel();
        let (shared, keys) = (Arc::clone(&service), Arc::clone(&tokens));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                match Review::open(settings, shared, keys).await {
                    Ok(review) => {
                        let _ = send.send(Ok(review.address()));
                        review.serve(std::future::pending()).await;
                    }
                    Err(error) => drop(send.send(Err(error))),
                }
            });
        });
        let address = receive.recv_timeout(Duration::from_secs(30))??;
        let address = match unix {
            true => ([127, 0, 0, 1], 0).into(),
            false => address
                .strip_prefix("inet:")
                .context("no address")?
                .parse()?,
        };
        Ok(Pages {
            accounts: Accounts::new(dir.path()),
            service,
            tokens,
            address,
            _dir: dir,
        })
    }

    /// Adds an account with [`PASSWORD`].
    pub(crate) fn account(&self, name: &str, role: AccountRole) -> Result<()> {
        self.accounts.add(name, role, Some(PASSWORD))?;
        Ok(())
    }

    /// Returns a worker over the same quarantine, which sends no notices.
    pub(crate) fn worker(&self) -> Result<Worker> {
        Ok(Worker::new(
            Arc::clone(self.service.quarantine()),
            WorkerSettings::default(),
            NoticeSettings::default(),
            Templates::built_in()?,
            Arc::clone(&self.tokens),
            logging::discard(),
        ))
    }

    /// Holds a message for one recipient, judged as the milter judges it.
    pub(crate) fn hold(&self, sender: &str, recipient: &str, headers: &str) -> Result<EntryId> {
        let ids = self.hold_for(sender, &[recipient], headers)?;
        ids.into_iter().next().context("nothing held")
    }

    /// Holds a message for these recipients, each judged as the milter judges it.
    pub(crate) fn hold_for(
        &self,
        sender: &str,
        recipients: &[&str],
        headers: &str,
    ) -> Result<Vec<EntryId>> {
        let mut draft = self.service.quarantine().draft();
        draft.write(headers.as_bytes())?;
        draft.write(b"\r\nThe body.\r\n")?;
        let recipients = recipients.iter().map(|recipient| self.judged(recipient));
        let envelope = Envelope {
            sender: Octets::from(format!("<{sender}>").as_str()),
            sender_address: sender.to_owned(),
            sender_args: vec![Octets::from("BODY=8BITMIME")],
            session: "5c0ffee123".to_owned(),
            queue_id: Some("4XyZ1aBcDe".to_owned()),
            client_ip: Some([192, 0, 2, 7].into()),
            client_name: None,
            login: Some(Octets::from("anna")),
            role: Role::Submission,
            received_at: now(),
            recipients: recipients.collect::<Result<_>>()?,
        };
        Ok(self.service.quarantine().hold(draft, envelope, now())?)
    }

    fn judged(&self, recipient: &str) -> Result<HeldRecipient> {
        let snapshot = self.service.snapshot();
        let (local, domain) = recipient.rsplit_once('@').context("no @")?;
        let (assessment, address) = match Domain::parse(domain.as_bytes(), &snapshot.suffixes) {
            Ok(domain) => (
                snapshot.scorer.assess(&domain, &Context::default()),
                format!("{local}@{}", domain.ascii()),
            ),
            Err(error) => (
                (snapshot.scorer).assess_undecodable(domain.as_bytes(), &error),
                recipient.to_owned(),
            ),
        };
        Ok(HeldRecipient {
            path: Octets::from(format!("<{recipient}>").as_str()),
            rcpt_addr: None,
            args: Vec::new(),
            address,
            suggestion: assessment.best().map(|best| best.trusted.clone()),
            assessment,
            rule: "default".to_owned(),
        })
    }

    /// Returns the path of the page that the notice about `id` links to.
    pub(crate) fn link(&self, id: &EntryId, life: Duration) -> Result<String> {
        let entry = self.service.quarantine().detail(id, now())?.entry;
        Ok(format!("/r/{}", self.tokens.sign(&entry, now() + life)))
    }

    /// Returns a browser that nobody has logged in with.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(self.address)
    }

    /// Returns a browser logged in as `name`.
    pub(crate) fn logged_in(&self, name: &str) -> Result<Browser> {
        let mut browser = self.browser();
        browser.log_in(name)?;
        Ok(browser)
    }
}

/// Speaks HTTP and keeps cookies.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) address: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    /// Sent with every request.
    pub(crate) headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) octets: Vec<u8>,
}

impl Page {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value)
    }

    /// The hidden field of the first form.
    pub(crate) fn seal(&self) -> String {
        self.field("seal")
    }

    /// The value of the first hidden field of this name.
    pub(crate) fn field(&self, name: &str) -> String {
        let before = format!("name=\"{name}\" value=\"");
        let rest = self.body.split_once(&before).map_or("", |(_, rest)| rest);
        rest.split('"').next().unwrap_or_default().to_owned()
    }
}

impl Browser {
    /// A browser that looks at the pages at `address`.
    pub(crate) fn new(address: SocketAddr) -> Browser {
        Browser {
            address,
            cookies: BTreeMap::new(),
            headers: Vec::new(),
        }
    }

    /// Logs in with the password of the tests.
    pub(crate) fn log_in(&mut self, name: &str) -> Result<()> {
        let page = self.get("/login")?;
        let answer = self.post(
            "/login",
            &[
                ("seal", page.seal().as_str()),
                ("name", name),
                ("password", PASSWORD),
            ],
        )?;
        if answer.status != 303 {
            bail!("{name} cannot log in: {} {}", answer.status, answer.body);
        }
        Ok(())
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Page> {
        self.request("GET", path, None)
    }

    pub(crate) fn head(&mut self, path: &str) -> Result<Page> {
        self.request("HEAD", path, None)
    }

    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Page> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in fields {
            form.append_pair(name, value);
        }
        self.request("POST", path, Some(form.finish()))
    }

    fn request(&mut self, method: &str, path: &str, body: Option<String>) -> Result<Page> {
        let host = self.address;
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            request.push_str(&format!("Host: {host}\r\n"));
        }
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = (self.cookies.iter())
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request.push_str(&format!("Cookie: {}\r\n", cookies.join("; ")));
        }
        let body = body.unwrap_or_default();
        if method == "POST" {
            request.push_str(&format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        let answer = exchange(self.address, &format!("{request}\r\n{body}"))?;
        let page = parse(&answer)?;
        for (name, value) in &page.headers {
            if name != "set-cookie" {
                continue;
            }
            let pair = value.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                match value {
                    "" => drop(self.cookies.remove(name)),
                    value => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
                }
            }
        }
        Ok(page)
    }
}

/// Sends octets and returns what came back until the server closed.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Result<Page> {
    let end = (answer.windows(4).position(|four| four == b"\r\n\r\n")).context("no header")?;
    let (head, octets) = answer.split_at(end);
    let octets = octets.get(4..).unwrap_or_default().to_vec();
    let head = String::from_utf8(head.to_vec())?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Ok(Page {
        status: status.context("no status")?.parse()?,
        headers,
        body: String::from_utf8_lossy(&octets).into_owned(),
        octets,
    })
}
