//! Which session each row belongs to: sessions by key, that grow and merge.

use super::local_time::LocalTime;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The open sessions of all keys. Each has a slot, an index for arrays beside it. Times are wall times.
#[derive(Debug)]
pub(super) struct Sessions {
    gap: i64,
    local: LocalTime,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots of each key's sessions.
    by_key: Vec<Vec<u32>>,
    /// For each session an end that it had once, its slot, and the slot's use: ends only grow, so the true one
    /// is looked up when this one is due.
    due: BinaryHeap<Reverse<(i64, u32, u32)>>,
    open: usize,
    /// What has been told: the watermark, or one before the clock.
    pub(super) progress: i64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    session: Session,
    /// Counts the sessions that have had this slot.
    uses: u32,
    open: bool,
}

/// One session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    /// First row.
    pub(super) start: i64,
    /// Last row and the gap.
    pub(super) end: i64,
    /// Group of its key.
    pub(super) key: u32,
}

/// What a batch of rows has done to sessions.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// Slots whose sessions were merged into others, in order: (from, into). `into` may be merged later on.
    pub(super) merges: Vec<(u32, u32)>,
    /// The slot of each row that was taken, by its index.
    rows: Vec<(u32, u32)>,
    into: HashMap<u32, u32>,
}

impl Assigned {
    /// Indexes of the rows that were taken, and the slot of each, after all merges.
    pub(super) fn resolve(&self) -> (Vec<u32>, Vec<u32>) {
        if self.into.is_empty() {
            return self.rows.iter().copied().unzip();
        }
        let last = |mut slot: u32| {
            while let Some(into) = self.into.get(&slot) {
                slot = *into;
            }
            slot
        };
        self.rows.iter().map(|(row, slot)| (*row, last(*slot))).unzip()
    }
}

impl Sessions {
    /// No sessions yet.
    pub(super) fn new(gap: i64, local: LocalTime) -> Self {
        Self {
            gap,
            local,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: Vec::new(),
            due: BinaryHeap::new(),
            open: 0,
            progress: i64::MIN,
        }
    }

    /// One more than the greatest slot.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Number of open sessions.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// The session in `slot`.
    pub(super) fn session(&self, slot: u32) -> Session {
        self.slots[slot as usize].session
    }

    /// The slots of the open sessions of `key`.
    pub(super) fn of_key(&self, key: u32) -> &[u32] {
        self.by_key.get(key as usize).map_or(&[], Vec::as_slice)
    }

    /// The slots of all open sessions, ascending.
    pub(super) fn open_slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().enumerate().filter(|(_, s)| s.open).map(|(slot, _)| slot as u32)
    }

    /// Whether a session up to `end` was open when windows had been told up to `progress`.
    pub(super) fn is_open_at(&self, end: i64, progress: i64) -> bool {
        self.local.passed(end - 1) > progress
    }

    /// Opens `session` as it was in a checkpoint, and gives its slot. Sessions of its key that it holds are what
    /// it was in an earlier snapshot: they go, and their slots are added to `held`.
    pub(super) fn put_back(&mut self, session: Session, held: &mut Vec<u32>) -> u32 {
        if self.by_key.len() <= session.key as usize {
            self.by_key.resize_with(session.key as usize + 1, Vec::new);
        }
        let earlier: Vec<u32> = self
            .of_key(session.key)
            .iter()
            .copied()
            .filter(|slot| {
                let other = self.session(*slot);
                session.start <= other.start && other.end <= session.end
            })
            .collect();
        for slot in &earlier {
            self.slots[*slot as usize].open = false;
            self.open -= 1;
        }
        self.forget(&earlier);
        held.extend_from_slice(&earlier);
        self.open(session)
    }

    /// Opens `session`, and gives its slot.
    pub(super) fn open(&mut self, session: Session) -> u32 {
        if self.by_key.len() <= session.key as usize {
            self.by_key.resize_with(session.key as usize + 1, Vec::new);
        }
        let slot = self.add(session);
        self.by_key[session.key as usize].push(slot);
        slot
    }

    /// Drops the sessions of `key`, which are kept elsewhere, and gives their slots.
    pub(super) fn drop_key(&mut self, key: u32) -> Vec<u32> {
        let slots = self.by_key.get_mut(key as usize).map(std::mem::take).unwrap_or_default();
        for slot in &slots {
            self.slots[*slot as usize].open = false;
            self.open -= 1;
        }
        self.free.extend_from_slice(&slots);
        slots
    }

    /// The longest pause in a session, in milliseconds.
    pub(super) fn gap(&self) -> i64 {
        self.gap
    }

    /// Number of slots that are not in use.
    pub(super) fn free_slots(&self) -> usize {
        self.free.len()
    }

    fn is_past(&self, end: i64) -> bool {
        self.local.passed(end - 1) <= self.progress
    }

    /// Row `row` of key `key` comes at `time`. It joins the sessions that it touches, and merges them. A row that
    /// touches none and whose own session would be past is late: false, and nothing happens.
    pub(super) fn assign(&mut self, row: u32, key: u32, time: i64, assigned: &mut Assigned) -> bool {
        let (mut start, mut end) = (time, time.saturating_add(self.gap));
        if self.by_key.len() <= key as usize {
            self.by_key.resize_with(key as usize + 1, Vec::new);
        }
        let touches = |slots: &[Slot], slot: u32| {
            let session = slots[slot as usize].session;
            session.start <= time.saturating_add(self.gap) && time <= session.end
        };
        if let [only] = self.by_key[key as usize][..]
            && touches(&self.slots, only)
        {
            let session = &mut self.slots[only as usize].session;
            (session.start, session.end) = (start.min(session.start), end.max(session.end));
            assigned.rows.push((row, only));
            return true;
        }
        let slots = &self.slots;
        let first = self.by_key[key as usize].iter().copied().find(|slot| touches(slots, *slot));
        let Some(into) = first else {
            if self.is_past(end) {
                return false;
            }
            let slot = self.add(Session { start, end, key });
            self.by_key[key as usize].push(slot);
            assigned.rows.push((row, slot));
            return true;
        };
        for slot in &self.by_key[key as usize] {
            if touches(&self.slots, *slot) {
                let session = self.slots[*slot as usize].session;
                (start, end) = (start.min(session.start), end.max(session.end));
                if *slot != into {
                    assigned.merges.push((*slot, into));
                    assigned.into.insert(*slot, into);
                }
            }
        }
        let merged = &assigned.into;
        let slots = &mut self.slots;
        let open = &mut self.open;
        self.by_key[key as usize].retain(|slot| {
            let gone = merged.contains_key(slot);
            if gone {
                slots[*slot as usize].open = false;
                *open -= 1;
            }
            !gone
        });
        self.slots[into as usize].session = Session { start, end, key };
        assigned.rows.push((row, into));
        true
    }

    fn add(&mut self, session: Session) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => {
                let held = &mut self.slots[slot as usize];
                *held = Slot { session, uses: held.uses.wrapping_add(1), open: true };
                slot
            }
            None => {
                self.slots.push(Slot { session, uses: 0, open: true });
                (self.slots.len() - 1) as u32
            }
        };
        self.open += 1;
        self.due.push(Reverse((session.end, slot, self.slots[slot as usize].uses)));
        slot
    }

    /// Gives back the slots of sessions that were merged into others, once their state has been moved.
    pub(super) fn release(&mut self, merges: &[(u32, u32)]) {
        self.free.extend(merges.iter().map(|(from, _)| *from));
    }

    /// Closes the sessions that are past, in order of their ends. Their slots must be given to `forget` next.
    pub(super) fn close(&mut self) -> Vec<u32> {
        let mut closed = Vec::new();
        while let Some(Reverse((end, slot, uses))) = self.due.peek().copied() {
            if !self.is_past(end) {
                break;
            }
            self.due.pop();
            let held = &mut self.slots[slot as usize];
            if !held.open || held.uses != uses {
                continue;
            }
            let end = held.session.end;
            if self.is_past(end) {
                self.slots[slot as usize].open = false;
                self.open -= 1;
                closed.push(slot);
            } else {
                self.due.push(Reverse((end, slot, uses)));
            }
        }
        closed.sort_by_key(|slot| {
            let session = self.session(*slot);
            (session.end, session.start, session.key)
        });
        closed
    }

    /// Gives back the slots of closed sessions. Returns the keys that have no session any more.
    pub(super) fn forget(&mut self, closed: &[u32]) -> Vec<u32> {
        let mut idle = Vec::new();
        for slot in closed {
            let key = self.session(*slot).key;
            let sessions = &mut self.by_key[key as usize];
            sessions.retain(|s| s != slot);
            if sessions.is_empty() {
                idle.push(key);
            }
        }
        self.free.extend_from_slice(closed);
        idle
    }

    /// Whether `key` has no session.
    pub(super) fn is_idle(&self, key: u32) -> bool {
        self.by_key.get(key as usize).is_none_or(Vec::is_empty)
    }

    /// The instant at which the next session is past, or an earlier one.
    pub(super) fn next_past(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((end, _, _))| self.local.passed(end - 1))
    }

    /// Looks up the true end of the session that is due next.
    pub(super) fn settle(&mut self) {
        while let Some(Reverse((end, slot, uses))) = self.due.peek().copied() {
            let held = self.slots[slot as usize];
            if held.open && held.uses == uses && held.session.end == end {
                return;
            }
            self.due.pop();
            if held.open && held.uses == uses {
                self.due.push(Reverse((held.session.end, slot, uses)));
            }
        }
    }

    /// Bytes held, estimated.
    pub(super) fn size(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.by_key.capacity() * 32 + self.due.len() * 16
    }
}
