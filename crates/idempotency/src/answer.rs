use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Response, StatusCode};

/// An answer as it is kept: what a repetition hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields in their order, without those of one connection.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The content.
    pub content: Bytes,
}

/// Fields that say something of one connection or of one delivery.
const NOT_KEPT: [HeaderName; 4] = [
    http::header::CONNECTION,
    http::header::TRANSFER_ENCODING,
    http::header::CONTENT_LENGTH,
    http::header::DATE,
];

impl From<&Response<Bytes>> for Answer {
    fn from(response: &Response<Bytes>) -> Self {
        let headers = response.headers().iter().filter(|(name, _)| !NOT_KEPT.contains(name));
        Self {
            status: response.status().as_u16(),
            headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
            content: response.body().clone(),
        }
    }
}

impl From<&Answer> for Response<Bytes> {
    fn from(answer: &Answer) -> Self {
        let mut response = Self::new(answer.content.clone());
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in &answer.headers {
            response.headers_mut().append(name, value.clone());
        }
        response
    }
}

/// Bytes that are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAnswer;

impl fmt::Display for InvalidAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes that were kept are no answer")
    }
}

impl std::error::Error for InvalidAnswer {}

impl Answer {
    /// As stores keep it: the status, the number of fields, then each name and value and at last the content, every
    /// one of them behind its length.
    pub fn to_bytes(&self) -> Bytes {
        fn put(bytes: &mut BytesMut, part: &[u8]) {
            bytes.put_u64(part.len() as u64);
            bytes.extend_from_slice(part);
        }
        let mut bytes = BytesMut::new();
        bytes.put_u16(self.status);
        bytes.put_u64(self.headers.len() as u64);
        for (name, value) in &self.headers {
            put(&mut bytes, name.as_str().as_bytes());
            put(&mut bytes, value.as_bytes());
        }
        put(&mut bytes, &self.content);
        bytes.freeze()
    }

    /// As a store kept it; the content shares its memory.
    ///
    /// # Errors
    /// When [`Answer::to_bytes`] did not write it.
    pub fn from_bytes(mut bytes: Bytes) -> Result<Self, InvalidAnswer> {
        fn take(bytes: &mut Bytes) -> Result<Bytes, InvalidAnswer> {
            let length = bytes.try_get_u64().map_err(|_| InvalidAnswer)?;
            let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len());
            Ok(bytes.split_to(length.ok_or(InvalidAnswer)?))
        }
        let status = bytes.try_get_u16().map_err(|_| InvalidAnswer)?;
        let fields = bytes.try_get_u64().map_err(|_| InvalidAnswer)?;
        let mut headers = Vec::new();
        for _ in 0..fields {
            let name = HeaderName::from_bytes(&take(&mut bytes)?).map_err(|_| InvalidAnswer)?;
            headers
                .push((name, HeaderValue::from_maybe_shared(take(&mut bytes)?).map_err(|_| InvalidAnswer)?));
        }
        let content = take(&mut bytes)?;
        if bytes.is_empty() { Ok(Self { status, headers, content }) } else { Err(InvalidAnswer) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_answer_is_the_same_after_it_was_kept(
            status in 100..1000u16,
            fields in prop::collection::vec(("[a-z][a-z-]{0,8}", "[ -~]{0,8}"), 0..4),
            content in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let headers = fields.iter().map(|(name, value)| {
                (name.parse().expect("a name"), value.parse().expect("a value"))
            });
            let answer = Answer { status, headers: headers.collect(), content: Bytes::from(content) };
            let bytes = answer.to_bytes();
            for end in 0..bytes.len() {
                prop_assert_eq!(Answer::from_bytes(bytes.slice(..end)), Err(InvalidAnswer), "cut at {}", end);
            }
            let longer: Bytes = bytes.iter().copied().chain([0]).collect();
            prop_assert_eq!(Answer::from_bytes(longer), Err(InvalidAnswer));
            prop_assert_eq!(Answer::from_bytes(bytes), Ok(answer));
        }

        #[test]
        fn other_bytes_are_refused_and_harm_nobody(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let bytes = Bytes::from(bytes);
            if let Ok(answer) = Answer::from_bytes(bytes.clone()) {
                prop_assert_eq!(answer.to_bytes(), bytes);
            }
        }
    }
}
