//! A clock that is wrong ends nothing too early, and loses nothing.

use super::*;

const YEAR: i64 = 365 * 86_400;

#[test]
fn clock_a_year_ahead_ends_nothing_for_an_hour_and_put_right_costs_nothing() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.tick(YEAR);
    // What comes in under the wrong clock is held and told of as always.
    let ahead = |second: i64, message: &[u8]| {
        let mut envelope = envelope(at(second));
        envelope.recipients[0].assessment = assessment();
        let mut draft = site.quarantine.draft();
        draft.write(message).unwrap();
        (site.quarantine.hold(draft, envelope, at(second)).unwrap()).remove(0)
    };
    let second = ahead(YEAR + 10, b"Message-ID: <2@example.org>\r\n\r\nx");
    site.quarantine
        .decide(&second, &Decision::SEND, "tester", at(YEAR + 20))
        .unwrap();
    let third = ahead(YEAR + 30, b"Message-ID: <3@example.org>\r\n\r\nx");
    site.tick(YEAR + 40);
    assert_eq!(state(&site.quarantine, &id, at(60)), EntryState::Held);
    // The clock is put right.
    for second in [300, 301] {
        site.tick(second);
    }
    assert_eq!(site.delivered().len(), 1, "the decision was carried out");
    assert_eq!(state(&site.quarantine, &third, at(302)), EntryState::Held);
    // A notice for the first message and the third.
    assert_eq!(site.sink.deliveries().len(), 3);
    site.answer("cancel", &anna(), 310).unwrap();
    // Nothing of the jump is left when the time really comes.
    site.tick(13 * 86_400);
    site.tick(13 * 86_400 + 80_000);
    assert_eq!(state(&site.quarantine, &third, at(400)), EntryState::Held);
}

#[test]
fn clock_that_stays_a_year_ahead_ends_after_the_hour() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    for second in [YEAR, YEAR + 60, YEAR + 3599] {
        site.tick(second);
        assert_eq!(state(&site.quarantine, &id, at(60)), EntryState::Held);
    }
    site.tick(YEAR + 3601);
    assert_eq!(state(&site.quarantine, &id, at(60)), EntryState::Expired);
    assert_eq!(site.sink.deliveries().len(), 2);
}

#[test]
fn clock_an_hour_back_delays_by_that_hour_and_loses_nothing() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.quarantine
        .decide(&id, &Decision::SEND, "tester", at(100))
        .unwrap();
    for second in [-3500, -3499, -3000] {
        site.tick(second);
        assert_eq!(site.sink.deliveries().len(), 1);
    }
    site.tick(100);
    assert_eq!(site.delivered().len(), 1);
    assert_eq!(state(&site.quarantine, &id, at(101)), EntryState::Released);
}
