//! A real browser: headless Chromium, driven over the WebDriver protocol.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// Returns why there is no browser here, if so.
pub(crate) fn why_no_chromium() -> Option<String> {
    for program in ["chromium", "chromedriver"] {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()));
        if !found {
            return Some(format!(
                "{program} is not installed (.ci/setup installs it)"
            ));
        }
    }
    None
}

/// What a window looks like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// 390 pixels wide instead of 1280.
    pub(crate) phone: bool,
    /// Scripts of pages do not run.
    pub(crate) no_scripts: bool,
}

/// One browser window; ends with the value.
pub(crate) struct Chromium {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Chromium {
    /// Starts driver and browser.
    pub(crate) fn start(look: Look) -> Result<Chromium> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start chromedriver")?;
        let stdout = driver.stdout.take().context("no output")?;
        let mut port = None;
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(rest) = line.split("successfully on port ").nth(1) {
                port = rest.trim_end_matches('.').parse::<u16>().ok();
                break;
            }
        }
        // A full pipe would stop the driver.
        std::thread::spawn(move || lines.for_each(drop));
        let mut chromium = Chromium {
            driver,
            address: ([127, 0, 0, 1], port.context("chromedriver named no port")?).into(),
            session: String::new(),
        };
        let mut options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--no-first-run", "--disable-background-networking", "--window-size=1280,1000"],
        });
        if look.phone {
            let metrics = json!({"width": 390, "height": 844, "pixelRatio": 2.0});
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        if look.no_scripts {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        let capabilities = json!({"alwaysMatch": {"goog:chromeOptions": options}});
        let answer = chromium.call("POST", "/session", &json!({"capabilities": capabilities}))?;
        let id = answer["sessionId"].as_str().context("no session")?;
        chromium.session = format!("/session/{id}");
        Ok(chromium)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let host = self.address;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        // The driver may keep the connection: the length says where the answer ends.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let value = answer["value"].clone();
        if let Some(error) = value["error"].as_str() {
            bail!("{method} {path}: {error}: {}", value["message"]);
        }
        Ok(value)
    }

    fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call("POST", &format!("{}{path}", self.session), &body)
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&self, url: &str) -> Result<()> {
        self.post("/url", json!({ "url": url })).map(drop)
    }

    /// The address shown.
    pub(crate) fn url(&self) -> Result<String> {
        let url = self.call("GET", &format!("{}/url", self.session), &Value::Null)?;
        Ok(url.as_str().unwrap_or_default().to_owned())
    }

    fn element(&self, css: &str) -> Result<String> {
        let found = self.post("/element", json!({"using": "css selector", "value": css}))?;
        let id = found.as_object().and_then(|object| object.values().next());
        Ok(id
            .and_then(Value::as_str)
            .context("no element id")?
            .to_owned())
    }

    /// Clicks the first element that `css` selects.
    pub(crate) fn click(&self, css: &str) -> Result<()> {
        let id = self.element(css)?;
        self.post(&format!("/element/{id}/click"), json!({}))
            .map(drop)
    }

    /// Types into the first element that `css` selects.
    pub(crate) fn type_into(&self, css: &str, text: &str) -> Result<()> {
        let id = self.element(css)?;
        self.post(&format!("/element/{id}/value"), json!({ "text": text }))
            .map(drop)
    }

    /// The text that the first element that `css` selects shows.
    pub(crate) fn text(&self, css: &str) -> Result<String> {
        let id = self.element(css)?;
        let path = format!("{}/element/{id}/text", self.session);
        let text = self.call("GET", &path, &Value::Null)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Runs a script of ours in the page and returns what it returns.
    pub(crate) fn ask(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The driver ends its browser with the session; only then it may go itself.
        if !self.session.is_empty() {
            let _ = self.call("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
