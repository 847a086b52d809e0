use bytes::Bytes;
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
