//! As much of Protobuf's binary form as OTLP's traces need
//! (<https://protobuf.dev/programming-guides/encoding/>).

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// A message that is being written. Field numbers are the caller's; fields of value zero are written too.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn varint(&mut self, number: u32, value: u64) {
        self.tag(number, VARINT);
        self.raw_varint(value);
    }

    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        self.tag(number, FIXED64);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, number: u32, value: u32) {
        self.tag(number, FIXED32);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, BYTES);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }

    /// A message within, whose length stands before it: it is written behind the space of a short length, which
    /// most have, and moved when it is longer.
    pub(super) fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        self.tag(number, BYTES);
        let at = self.0.len();
        self.0.push(0);
        write(self);
        let length = self.0.len() - at - 1;
        if let Ok(length @ 0..0x80) = u8::try_from(length) {
            self.0[at] = length;
            return;
        }
        let mut prefix = Self::default();
        prefix.raw_varint(length as u64);
        self.0.splice(at..=at, prefix.0);
    }

    fn tag(&mut self, number: u32, kind: u32) {
        self.raw_varint(u64::from(number << 3 | kind));
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field's value, as far as anyone here wants it.
#[derive(Debug, Default)]
pub(super) struct Value<'a> {
    pub(super) varint: Option<u64>,
    pub(super) bytes: Option<&'a [u8]>,
}

/// The fields of a message, up to the first that is malformed.
pub(super) fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u32, Value<'_>)> {
    std::iter::from_fn(move || {
        let tag = u32::try_from(read_varint(&mut rest)?).ok()?;
        let value = match tag & 7 {
            VARINT => Value { varint: Some(read_varint(&mut rest)?), ..Value::default() },
            FIXED64 => take(&mut rest, 8).map(|_| Value::default())?,
            BYTES => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                Value { bytes: Some(take(&mut rest, length)?), ..Value::default() }
            }
            FIXED32 => take(&mut rest, 4).map(|_| Value::default())?,
            _ => return None,
        };
        Some((tag >> 3, value))
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    rest.split_off(..length)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_takes_as_many_bytes_as_it_needs() {
        for (length, whole) in [(0, 2), (127, 129), (128, 131), (16_383, 16_386), (16_384, 16_388)] {
            let mut message = Message::default();
            message.message(1, |inner| inner.0.extend(vec![0; length]));
            let message = message.finish();
            assert_eq!(message.len(), whole, "{length}");
            let read = fields(&message).next().and_then(|(_, value)| value.bytes).map(<[u8]>::len);
            assert_eq!(read, Some(length));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(number in 1_u32..1 << 29, value: u64, length in 0_usize..40_000) {
            let bytes = vec![7; length];
            let mut message = Message::default();
            message.varint(number, value);
            message.fixed64(number, value);
            message.message(number, |inner| inner.bytes(1, &bytes));
            message.fixed32(number, 7);
            let message = message.finish();
            let read: Vec<_> = fields(&message).collect();
            prop_assert_eq!(read.len(), 4);
            prop_assert!(read.iter().all(|(found, _)| *found == number));
            prop_assert_eq!(read[0].1.varint, Some(value));
            let inner = fields(read[2].1.bytes.expect("bytes")).next().expect("a field").1.bytes;
            prop_assert_eq!(inner, Some(&bytes[..]));
        }
    }
}
