//! Ogg (RFC 3533) gives a time to the end of each page only. The decoding library counts on from the
//! end of the page before, so that it reports a gap one page late, by a second or more: the gap is
//! between the pages.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;
use symphonia::core::units::Timestamp;

/// A page without its table of segments.
const HEADER_BYTES: usize = 27;

/// The most packets that end in a page.
const MAX_PACKETS: usize = 255;

/// The most bytes of a page, but for a packet that began on an earlier one.
const MAX_PAGE_BYTES: usize = 255 * 255;

/// The most pages of other streams between two pages of one; a file with more is hostile.
const MAX_OTHER_PAGES: usize = 100_000;

/// The pages of one stream, read beside the reader of its packets.
pub(crate) struct Pages {
    file: File,
    /// The number of the stream, which is that of its track.
    serial: u32,
    /// Where the next page is.
    at: u64,
    /// Whether the stream has begun.
    begun: bool,
    /// The packets of a page.
    page: VecDeque<Packet>,
    /// What the reader gave behind them.
    following: Option<Result<Option<Packet>, Error>>,
}

impl Pages {
    /// Those of the stream `serial` from byte `at` on.
    pub(super) fn new(file: File, at: u64, serial: u32) -> Self {
        Self { file, serial, at, begun: false, page: VecDeque::new(), following: None }
    }

    /// Goes on with another stream of the chain.
    pub(super) fn restart(&mut self, serial: u32) {
        self.serial = serial;
        self.begun = false;
    }

    /// The next packet of the stream, of those that `read` gives.
    pub(super) fn next_packet(
        &mut self,
        mut read: impl FnMut() -> Result<Option<Packet>, Error>,
    ) -> Result<Option<Packet>, Error> {
        if let Some(packet) = self.page.pop_front() {
            return Ok(Some(packet));
        }
        let serial = self.serial;
        let mut read_own = || loop {
            match read()? {
                Some(packet) if packet.track_id != serial => {}
                result => return Ok(result),
            }
        };
        let Some(first) = self.following.take().unwrap_or_else(&mut read_own)? else {
            return Ok(None);
        };
        let (mut page_end, start) = (None, first.pts);
        while page_end.is_none_or(|end| end <= start) {
            page_end = self.next_page_end();
            if page_end.is_none() {
                return Ok(Some(first));
            }
        }
        let page_end = page_end.unwrap_or(start);
        let mut end = end_of(&first);
        self.page.push_back(first);
        let mut bytes = 0;
        let is_whole = loop {
            match read_own() {
                Ok(Some(packet)) if packet.pts < page_end => {
                    bytes += packet.data.len();
                    if self.page.len() >= MAX_PACKETS || bytes > MAX_PAGE_BYTES {
                        self.following = Some(Ok(Some(packet)));
                        break false;
                    }
                    end = end_of(&packet);
                    self.page.push_back(packet);
                }
                following => {
                    self.following = Some(following);
                    break true;
                }
            }
        };
        // No page has so much: the time that was found is not that of this one.
        let gap = if is_whole { page_end.get().saturating_sub(end.get()) } else { 0 };
        if gap > 0 {
            for packet in &mut self.page {
                packet.pts = Timestamp::new(packet.pts.get().saturating_add(gap));
            }
        }
        Ok(self.page.pop_front())
    }

    /// The time at the end of the stream's next page in which a packet ends; `None` behind the last
    /// one, and where the file is damaged.
    fn next_page_end(&mut self) -> Option<Timestamp> {
        for _ in 0..MAX_OTHER_PAGES {
            let mut header = [0; HEADER_BYTES];
            self.file.read_exact_at(&mut header, self.at).ok()?;
            let [b'O', b'g', b'g', b'S', _, flags, rest @ .., segments] = header else {
                return None;
            };
            let (position, rest) = rest.split_first_chunk()?;
            let (serial, _) = rest.split_first_chunk()?;
            let is_own = u32::from_le_bytes(*serial) == self.serial;
            let is_first = flags & 2 != 0;
            if is_own && is_first && self.begun {
                return None; // another stream of the chain with the same number
            }
            let mut table = vec![0; segments.into()];
            self.file.read_exact_at(&mut table, self.at + HEADER_BYTES as u64).ok()?;
            let content: u64 = table.iter().copied().map(u64::from).sum();
            self.at += (HEADER_BYTES + table.len()) as u64 + content;
            self.begun |= is_own;
            let position = i64::from_le_bytes(*position);
            // Without the end of a packet, it is -1.
            if is_own && !is_first && position >= 0 {
                return Some(Timestamp::new(position));
            }
        }
        None
    }
}

/// Where a packet ends, with what is cut off it.
fn end_of(packet: &Packet) -> Timestamp {
    packet.pts.saturating_add(packet.block_dur())
}

#[cfg(test)]
mod tests {
    use symphonia::core::units::Duration;

    use super::*;
    use crate::tests::file_of;

    /// A page of stream 7, or another one, whose last packet ends at this time.
    fn page(serial: u32, flags: u8, end: i64) -> Vec<u8> {
        let (end, serial) = (end.to_le_bytes(), serial.to_le_bytes());
        [&b"OggS\0"[..], &[flags], &end, &serial, &[0; 8], &[1, 3], b"abc"].concat()
    }

    /// The times of packets of 10 that the reader gives these times.
    fn times(pages: &[Vec<u8>], reported: &[i64]) -> Vec<i64> {
        let mut pages = Pages::new(file_of(&pages.concat()), 0, 7);
        let mut packets =
            reported.iter().map(|pts| Packet::new(7, Timestamp::new(*pts), Duration::new(10), [0]));
        let mut times = Vec::new();
        while let Some(packet) = pages.next_packet(|| Ok(packets.next())).unwrap() {
            times.push(packet.pts.get());
        }
        times
    }

    #[test]
    fn a_gap_is_before_its_page() {
        let head = [page(7, 2, 0), page(7, 0, 0), page(7, 0, 20)];
        let gap = [page(8, 0, 500), page(7, 0, -1), page(7, 0, 1_020), page(7, 0, 1_040)];
        let pages = [&head[..], &gap[..]].concat();
        let reported = [0, 10, 20, 30, 1_020, 1_030];
        assert_eq!(times(&pages, &reported), [0, 10, 1_000, 1_010, 1_020, 1_030]);
        // Behind damage, they stay as they are.
        assert_eq!(times(&pages[..4], &reported), reported);
    }

    #[test]
    fn a_chain_begins_anew() {
        let pages = [page(7, 2, 0), page(7, 0, 20), page(7, 2, 0), page(7, 0, 500)];
        let mut own = Pages::new(file_of(&pages.concat()), 0, 7);
        let ends = |own: &mut Pages| own.next_page_end().map(Timestamp::get);
        assert_eq!((ends(&mut own), ends(&mut own)), (Some(20), None));
        own.restart(7);
        assert_eq!((ends(&mut own), ends(&mut own)), (Some(500), None));
    }
}
