use bytes::Bytes;
use intertie_core::envelope::{Data, Envelope, EnvelopeError, Limits, Mode, batch, binary, structured};

/// One event in JSON is read, or it is said why not, and comes back from what is written of it, in headers too.
pub(crate) fn one(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    let Some(event) = judged(structured::read(&input, &Limits::default())) else { return };
    comes_back_from_json(&event);
    comes_back_from_headers(&event);
    let alone = batch::read(&[b"[", &input[..], b"]"].concat(), &Limits::default());
    assert_eq!(alone, Ok(vec![event]), "alone it is another event than in a batch");
}

/// The same for several; one that is bad is pointed to.
pub(crate) fn several(input: &[u8]) {
    let Some(events) = judged(batch::read(input, &Limits::default())) else { return };
    assert_eq!(batch::read(&batch::write(&events), &Limits::default()).as_ref(), Ok(&events));
    events.iter().for_each(comes_back_from_json);
}

/// The same for headers, a line each, and after an empty line the body.
pub(crate) fn headers(input: &[u8]) {
    let (head, body) = parts(input);
    let headers: Vec<(&str, &[u8])> = head.split(|byte| *byte == b'\n').filter_map(header).collect();
    for (name, value) in &headers {
        if name.eq_ignore_ascii_case("content-type") {
            let _ = Mode::of(std::str::from_utf8(value).ok());
        }
    }
    let body = Bytes::copy_from_slice(body);
    let Some(event) = judged(binary::read(headers, body, &Limits::default())) else { return };
    comes_back_from_json(&event);
    comes_back_from_headers(&event);
}

fn parts(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, b""),
    }
}

fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]))
}

/// What was read; a refusal says something, and repeats no more than a little of what came.
fn judged<T>(read: Result<T, EnvelopeError>) -> Option<T> {
    read.map_err(|error| {
        let (shown, pointer) = (error.to_string(), error.pointer());
        assert!(!shown.is_empty() && shown.len() < 1000, "{shown}");
        assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer}");
        assert!(pointer.len() < 200, "{pointer}");
    })
    .ok()
}

fn comes_back_from_json(event: &Envelope) {
    let written = Bytes::from(structured::write(event));
    let unbounded = Limits { attribute_bytes_max: Limits::default().message_bytes_max, ..Limits::default() };
    let read = structured::read(&written, &unbounded).expect("what is written is read");
    // White space around JSON is no part of its value.
    let trimmed =
        |event: &Envelope| event.data().map(|data| (data.form(), data.bytes().trim_ascii().to_vec()));
    assert_eq!(trimmed(&read), trimmed(event));
    let bare = |event: &Envelope| event.clone().without_data(None);
    assert_eq!(bare(&read), bare(event));
    assert_eq!(read.data_content_type(), event.data_content_type());
}

fn comes_back_from_headers(event: &Envelope) {
    let message = binary::write(event);
    for (name, value) in &message.headers {
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
        assert!(value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)), "{value}");
    }
    let headers = message.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
    let bounds = Limits { attribute_bytes_max: Limits::default().message_bytes_max, ..Limits::default() };
    match binary::read(headers, message.body.clone(), &bounds) {
        Ok(read) => assert_eq!(binary::write(&read), message),
        Err(error) => {
            let broken = event.data().is_some_and(|data| Data::json(data.bytes().clone()).is_err());
            assert!(broken && error.pointer() == "/data", "{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn the_corpus_is_read() {
        for input in corpus::ENVELOPE {
            let read = structured::read(&Bytes::from_static(input), &Limits::default());
            assert!(read.is_ok(), "{}: {read:?}", input.escape_ascii());
        }
        for input in corpus::ENVELOPE_BATCH {
            assert!(batch::read(input, &Limits::default()).is_ok(), "{}", input.escape_ascii());
        }
        for input in corpus::ENVELOPE_HEADERS {
            let (head, body) = parts(input);
            let headers = head.split(|byte| *byte == b'\n').filter_map(header);
            let read = binary::read(headers, Bytes::from_static(body), &Limits::default());
            assert!(read.is_ok(), "{}: {read:?}", input.escape_ascii());
        }
    }
}
