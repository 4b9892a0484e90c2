//! Nexmark events as JSON lines, with the published proportions: 1 person to 3 auctions to 46 bids, 10,000 events a
//! second of event time, in order; half of the bids go to a hot auction, three quarters of bids and auctions come from
//! hot people. The same number gives the same events everywhere.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Event time of the first event: 2024-01-01 00:00:00 UTC, in milliseconds since the epoch.
const BASE_TIME_MS: u64 = 1_704_067_200_000;
/// Events in a millisecond of event time.
const EVENTS_A_MS: u64 = 10;
/// Of so many events in a row…
const EPOCH: u64 = 50;
/// … so many are people …
const PEOPLE: u64 = 1;
/// … and so many auctions; the rest are bids.
const AUCTIONS: u64 = 3;
/// First id of people and auctions.
const FIRST_ID: u64 = 1000;
/// First category; there are five.
const FIRST_CATEGORY: u64 = 10;
/// People who bid and sell: the last so many.
const ACTIVE_PEOPLE: u64 = 1000;
/// Auctions that are open: the last so many.
const OPEN_AUCTIONS: u64 = 100;
/// One auction, or person, of so many in a row is hot.
const HOT: u64 = 100;
/// Bytes of an event of each kind that the texts are filled up to: person, auction, bid.
const BYTES: [usize; 3] = [200, 500, 100];

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const FIRST_NAMES: [&str; 8] = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie"];
const LAST_NAMES: [&str; 6] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton"];
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// A folder with `events` events in `files` files, below `root`: made once, then used again. Lines go to the files in
/// turn, so that each is in the order of event time.
///
/// Errors: the disk.
pub fn events(root: &Path, events: usize, files: usize) -> io::Result<PathBuf> {
    let folder = root.join(format!("nexmark-{events}-{files}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let unfinished = root.join(format!(".nexmark-{events}-{files}.{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let open = |n: usize| File::create(unfinished.join(format!("part-{n}.json"))).map(BufWriter::new);
    let mut out = (0..files).map(open).collect::<io::Result<Vec<_>>>()?;
    for n in 0..events {
        let file = &mut out[n % files];
        file.write_all(event(n as u64).as_bytes())?;
        file.write_all(b"\n")?;
    }
    out.into_iter().try_for_each(|mut file| file.flush())?;
    fs::rename(unfinished, &folder)?;
    Ok(folder)
}

/// Event number `n` as the tables of the queries want it: the kind, and an object of that kind.
pub fn event(n: u64) -> String {
    let mut random = SmallRng::seed_from_u64(n);
    let (epoch, place) = (n / EPOCH, n % EPOCH);
    let time = BASE_TIME_MS + n / EVENTS_A_MS;
    if place < PEOPLE {
        return person(&mut random, FIRST_ID + epoch, time).to_string();
    }
    let last_person = epoch;
    if place < PEOPLE + AUCTIONS {
        let id = FIRST_ID + epoch * AUCTIONS + place - PEOPLE;
        return auction(&mut random, id, last_person, time).to_string();
    }
    let last_auction = epoch * AUCTIONS + AUCTIONS - 1;
    bid(&mut random, last_auction, last_person, time).to_string()
}

fn person(random: &mut SmallRng, id: u64, time: u64) -> serde_json::Value {
    let name = format!("{} {}", pick(random, &FIRST_NAMES), pick(random, &LAST_NAMES));
    let email = format!("{}@{}.com", text(random, 7), text(random, 5));
    let card: Vec<String> = (0..4).map(|_| format!("{:04}", random.random_range(0..10_000))).collect();
    let extra = text(random, BYTES[0] - 80);
    json!({"event_type": 0, "person": {
        "id": id, "name": name, "emailAddress": email, "creditCard": card.join(" "),
        "city": pick(random, &CITIES), "state": pick(random, &STATES), "dateTime": timestamp(time), "extra": extra,
    }, "auction": null, "bid": null})
}

fn auction(random: &mut SmallRng, id: u64, last_person: u64, time: u64) -> serde_json::Value {
    let seller = FIRST_ID + someone(random, last_person, ACTIVE_PEOPLE, 0.75);
    let (first, reserve) = (price(random), price(random));
    // Open for as long as the bids on the auctions that are open by then take, twice that at most.
    let open_ms = OPEN_AUCTIONS * EPOCH / AUCTIONS / EVENTS_A_MS;
    let expires = time + 1 + random.random_range(0..2 * open_ms);
    json!({"event_type": 1, "person": null, "auction": {
        "id": id, "itemName": text(random, 20), "description": text(random, 100), "initialBid": first,
        "reserve": first + reserve, "dateTime": timestamp(time), "expires": timestamp(expires), "seller": seller,
        "category": FIRST_CATEGORY + random.random_range(0..5), "extra": text(random, BYTES[1] - 200),
    }, "bid": null})
}

fn bid(random: &mut SmallRng, last_auction: u64, last_person: u64, time: u64) -> serde_json::Value {
    let auction = FIRST_ID + someone(random, last_auction, OPEN_AUCTIONS, 0.5);
    let bidder = FIRST_ID + someone(random, last_person, ACTIVE_PEOPLE, 0.75);
    let (channel, url) = if random.random_bool(0.5) {
        let n = random.random_range(0..CHANNELS.len());
        (
            CHANNELS[n].to_string(),
            format!(
                "https://www.nexmark.com/{}/item.htm?query=1",
                text(&mut SmallRng::seed_from_u64(n as u64), 12)
            ),
        )
    } else {
        let n: u64 = random.random_range(0..10_000);
        let path = text(&mut SmallRng::seed_from_u64(n), 12);
        (format!("channel-{n}"), format!("https://www.nexmark.com/{path}/item.htm?query=1&channel_id={n}"))
    };
    json!({"event_type": 2, "person": null, "auction": null, "bid": {
        "auction": auction, "bidder": bidder, "price": price(random), "channel": channel, "url": url,
        "dateTime": timestamp(time), "extra": text(random, BYTES[2] - 60),
    }})
}

/// One of the last `active` numbers up to `last`; with a probability of `hot` the hot one among them.
fn someone(random: &mut SmallRng, last: u64, active: u64, hot: f64) -> u64 {
    if random.random_bool(hot) {
        last / HOT * HOT
    } else {
        random.random_range(last.saturating_sub(active)..=last)
    }
}

/// From 100 to 100 million, most of them small.
fn price(random: &mut SmallRng) -> u64 {
    (10f64.powf(random.random_range(0.0..6.0)) * 100.0).round() as u64
}

fn pick<'a>(random: &mut SmallRng, from: &[&'a str]) -> &'a str {
    from[random.random_range(0..from.len())]
}

/// Letters and now and then a space, of about `length` bytes.
fn text(random: &mut SmallRng, length: usize) -> String {
    let length = random.random_range(length * 4 / 5..=length * 6 / 5);
    let letter = |_| match random.random_range(0..13) {
        0 => ' ',
        _ => char::from(b'a' + random.random_range(0..26)),
    };
    (0..length).map(letter).collect()
}

/// `2024-01-01 00:00:00.000`, from milliseconds since the epoch.
fn timestamp(ms: u64) -> String {
    let (mut days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let is_leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}.{:03}", month + 1, days + 1, rest % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportions_and_sizes_are_the_published_ones() {
        let events: Vec<String> = (0..5000).map(event).collect();
        let of = |kind: &str| events.iter().filter(|e| e.contains(kind)).count();
        assert_eq!(
            [of("\"event_type\":0"), of("\"event_type\":1"), of("\"event_type\":2")],
            [100, 300, 4600]
        );
        assert!(events.iter().all(|e| serde_json::from_str::<serde_json::Value>(e).is_ok()));
        assert_eq!(timestamp(BASE_TIME_MS + 86_400_000 * 60 + 3_723_004), "2024-03-01 01:02:03.004");
    }
}
