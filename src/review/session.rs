//! Who is logged in: in memory, so a restart logs everybody out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::hexadecimal;

/// A session ends after so long without a request.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// A session ends after a working day in any case.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// Sessions at a time; at the bound the one idle for longest ends.
const MOST: usize = 1000;

/// A logged-in browser.
#[derive(Clone)]
pub(super) struct Session {
    /// Name of the account.
    pub(super) account: String,
    /// What [`crate::service::account::Account::stamp`] said at login.
    pub(super) stamp: String,
    began: Instant,
    seen: Instant,
}

/// All sessions, by the hash of their cookie: whoever reads our memory cannot log in with it.
#[derive(Default)]
pub(super) struct Sessions {
    by_hash: Mutex<HashMap<[u8; 32], Session>>,
}

impl Sessions {
    /// Begins a session and returns its cookie: 256 random bits, never one a browser brought.
    pub(super) fn begin(
        &self,
        account: &str,
        stamp: &str,
        now: Instant,
    ) -> Result<String, getrandom::Error> {
        let cookie = random_text()?;
        let mut sessions = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.lives(now));
        if sessions.len() >= MOST {
            let idle = sessions.iter().min_by_key(|(_, session)| session.seen);
            if let Some(idle) = idle.map(|(hash, _)| *hash) {
                sessions.remove(&idle);
            }
        }
        let session = Session {
            account: account.to_owned(),
            stamp: stamp.to_owned(),
            began: now,
            seen: now,
        };
        sessions.insert(hash(&cookie), session);
        Ok(cookie)
    }

    /// Returns the session of a cookie, and notes that it was seen.
    pub(super) fn find(&self, cookie: &str, now: Instant) -> Option<Session> {
        let mut sessions = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = hash(cookie);
        let session = sessions.get_mut(&hash)?;
        if !session.lives(now) {
            sessions.remove(&hash);
            return None;
        }
        session.seen = now;
        Some(session.clone())
    }

    /// Ends the session of a cookie.
    pub(super) fn end(&self, cookie: &str) {
        let mut sessions = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&hash(cookie));
    }
}

impl Session {
    fn lives(&self, now: Instant) -> bool {
        now.duration_since(self.seen) < IDLE && now.duration_since(self.began) < LONGEST
    }
}

/// Returns 256 random bits in hexadecimal.
pub(super) fn random_text() -> Result<String, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(hexadecimal::encode(&random))
}

fn hash(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_idle_after_a_day_and_by_logout() {
        let sessions = Sessions::default();
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let cookie = sessions.begin("anna", "hash", at(0)).unwrap();
        assert_eq!(cookie.len(), 64);
        assert_eq!(sessions.find(&cookie, at(59)).unwrap().account, "anna");
        assert!(sessions.find("", at(59)).is_none());
        for half_hour in 2..24 {
            assert!(sessions.find(&cookie, at(30 * half_hour)).is_some());
        }
        assert!(
            sessions.find(&cookie, at(12 * 60)).is_none(),
            "a day is over"
        );
        let cookie = sessions.begin("anna", "hash", at(0)).unwrap();
        assert!(sessions.find(&cookie, at(60)).is_none(), "idle");
        let cookie = sessions.begin("anna", "hash", at(0)).unwrap();
        sessions.end(&cookie);
        assert!(sessions.find(&cookie, at(1)).is_none(), "logged out");
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::default();
        let start = Instant::now();
        let at = |n: usize| start + Duration::from_millis(n as u64);
        let first = sessions.begin("anna", "", start).unwrap();
        for n in 1..=MOST {
            sessions.begin("anna", "", at(n)).unwrap();
        }
        assert_eq!(sessions.by_hash.lock().unwrap().len(), MOST);
        assert!(sessions.find(&first, at(MOST)).is_none());
    }
}
