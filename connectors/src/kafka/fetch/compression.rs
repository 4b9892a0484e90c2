//! How producers and brokers compress record batches.

use std::io::{self, Read};

/// Most bytes that one batch may have when it is decompressed.
const MAX_BYTES: usize = 1 << 30;

/// What begins the framing that Java clients put around Snappy.
const XERIAL: &[u8] = b"\x82SNAPPY\0";

/// Bytes of that framing before its first block: the above and two versions.
const XERIAL_HEADER: usize = 16;

/// Why records cannot be read, as the end of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Damage(pub &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// By its number in a batch; `None` for no compression.
    ///
    /// Errors: no codec has this number.
    pub(super) fn of(number: i16) -> Result<Option<Self>, Damage> {
        Ok(match number {
            0 => None,
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => return Err(Damage("its compression is not known")),
        })
    }

    /// Appends what `packed` holds to `out`.
    ///
    /// Errors: it is damaged, or larger than is allowed.
    pub(super) fn decompress(self, packed: &[u8], out: &mut Vec<u8>) -> Result<(), Damage> {
        match self {
            Self::Gzip => read(flate2::read::MultiGzDecoder::new(packed), out),
            Self::Snappy => snappy(packed, out),
            Self::Lz4 => read(lz4_flex::frame::FrameDecoder::new(packed), out),
            Self::Zstd => match zstd::stream::read::Decoder::new(packed) {
                Ok(decoder) => read(decoder, out),
                Err(_) => Err(Damage("it does not decompress")),
            },
        }
    }
}

fn read(from: impl Read, out: &mut Vec<u8>) -> Result<(), Damage> {
    let most = MAX_BYTES as u64;
    let all: io::Result<usize> = from.take(most + 1).read_to_end(out);
    match all {
        Ok(length) if length as u64 <= most => Ok(()),
        Ok(_) => Err(Damage("it is too large when decompressed")),
        Err(_) => Err(Damage("it does not decompress")),
    }
}

fn snappy(mut packed: &[u8], out: &mut Vec<u8>) -> Result<(), Damage> {
    let broken = Damage("it does not decompress");
    if !packed.starts_with(XERIAL) {
        return snappy_block(packed, out);
    }
    packed = packed.get(XERIAL_HEADER..).ok_or(broken)?;
    while let Some((length, rest)) = packed.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| broken)?;
        let (block, rest) = rest.split_at_checked(length).ok_or(broken)?;
        snappy_block(block, out)?;
        packed = rest;
    }
    if packed.is_empty() { Ok(()) } else { Err(broken) }
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), Damage> {
    let broken = |_| Damage("it does not decompress");
    let (old, length) = (out.len(), snap::raw::decompress_len(block).map_err(broken)?);
    if old + length > MAX_BYTES {
        return Err(Damage("it is too large when decompressed"));
    }
    out.resize(old + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[old..]).map_err(broken)?;
    out.truncate(old + written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn unpacked(codec: Codec, packed: &[u8]) -> Result<Vec<u8>, Damage> {
        let mut out = b"before".to_vec();
        codec.decompress(packed, &mut out).map(|()| out.split_off(6))
    }

    #[test]
    fn every_codec_gives_back_what_went_in() {
        let text = b"stream of records, stream of records, stream of records".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        let block = |part: &[u8]| {
            let packed = snap::raw::Encoder::new().compress_vec(part).unwrap();
            [(packed.len() as i32).to_be_bytes().to_vec(), packed].concat()
        };
        let versions = [0, 0, 0, 1, 0, 0, 0, 1];
        let blocks = text.chunks(1 << 15).flat_map(block).collect::<Vec<_>>();
        let xerial = [XERIAL, &versions, &blocks].concat();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&text).unwrap();
        let zstd = zstd::stream::encode_all(text.as_slice(), 1).unwrap();
        let all = [
            (Codec::Gzip, gzip.finish().unwrap()),
            (Codec::Snappy, raw),
            (Codec::Snappy, xerial),
            (Codec::Lz4, lz4.finish().unwrap()),
            (Codec::Zstd, zstd),
        ];
        for (codec, packed) in all {
            assert_eq!(unpacked(codec, &packed).unwrap(), text, "{codec:?}");
            assert!(unpacked(codec, &packed[..packed.len() / 2]).is_err(), "{codec:?} is cut off");
            let noise = packed.iter().map(|b| b.wrapping_mul(31)).collect::<Vec<_>>();
            assert!(unpacked(codec, &noise).is_err(), "{codec:?} is noise");
        }
        assert!(Codec::of(5).is_err());
    }
}
