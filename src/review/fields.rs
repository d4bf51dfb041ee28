//! Fields of a query or a form, in the order they came.

use std::time::Duration;

use axum::extract::{FromRequest, RawForm, Request};

use super::failure::Failure;

/// Octets of a form: 1,000 ids and a reason fit.
pub(super) const LONGEST_FORM: usize = 64 * 1024;
/// A form arrives within this time, or not at all.
const SLOWEST_FORM: Duration = Duration::from_secs(15);
/// Characters of one field of text, such as a reason.
const LONGEST_TEXT: usize = 500;

/// Names with values; a name may come more than once.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads the query of a URL.
    pub(super) fn of_query(query: Option<&str>) -> Fields {
        Fields(read(query.unwrap_or_default().as_bytes()))
    }

    /// Reads the form in a request.
    pub(super) async fn of_form(request: Request) -> Result<Fields, Failure> {
        let form = RawForm::from_request(request, &());
        match tokio::time::timeout(SLOWEST_FORM, form).await {
            Ok(Ok(RawForm(form))) => Ok(Fields(read(&form))),
            _ => Err(Failure::bad(
                "The form did not arrive whole. Send it again.",
            )),
        }
    }

    /// Returns the first value of this name, without blanks around it; empty when there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// Returns the first value of this name as it came: a password may begin with a blank.
    pub(super) fn raw(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// Returns every value of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        (self.0.iter())
            .filter(move |(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns a text somebody had to write, such as a reason.
    pub(super) fn text(&self, name: &str, what: &str) -> Result<&str, Failure> {
        let text = self.get(name);
        if text.is_empty() {
            return Err(Failure::bad(format!("Write {what} first.")));
        }
        if text.chars().count() > LONGEST_TEXT {
            let said = format!("Write {what} in at most {LONGEST_TEXT} characters.");
            return Err(Failure::bad(said));
        }
        Ok(text)
    }
}

fn read(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}
