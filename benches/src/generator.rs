//! Nexmark events as JSON lines: 1 person to 3 auctions to 46 bids, 10,000 events a second of event time, in order.

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Event time of the first event: 2024-01-01 00:00:00 UTC, in milliseconds since the epoch.
const BASE_TIME_MS: u64 = 1_704_067_200_000;

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
    let config = NexmarkConfig { base_time: BASE_TIME_MS, ..NexmarkConfig::default() };
    for (n, event) in EventGenerator::new(config).take(events).enumerate() {
        let file = &mut out[n % files];
        serde_json::to_writer(&mut *file, &line(&event))?;
        file.write_all(b"\n")?;
    }
    out.into_iter().try_for_each(|mut file| file.flush())?;
    fs::rename(unfinished, &folder)?;
    Ok(folder)
}

/// One event as the tables of the queries want it: the kind, and an object of that kind.
pub fn line(event: &Event) -> Value {
    match event {
        Event::Person(p) => json!({"event_type": 0, "person": {
            "id": p.id, "name": p.name, "emailAddress": p.email_address, "creditCard": p.credit_card,
            "city": p.city, "state": p.state, "dateTime": timestamp(p.date_time), "extra": p.extra,
        }, "auction": null, "bid": null}),
        Event::Auction(a) => json!({"event_type": 1, "person": null, "auction": {
            "id": a.id, "itemName": a.item_name, "description": a.description, "initialBid": a.initial_bid,
            "reserve": a.reserve, "dateTime": timestamp(a.date_time), "expires": timestamp(a.expires),
            "seller": a.seller, "category": a.category, "extra": a.extra,
        }, "bid": null}),
        Event::Bid(b) => json!({"event_type": 2, "person": null, "auction": null, "bid": {
            "auction": b.auction, "bidder": b.bidder, "price": b.price, "channel": b.channel, "url": b.url,
            "dateTime": timestamp(b.date_time), "extra": b.extra,
        }}),
    }
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
