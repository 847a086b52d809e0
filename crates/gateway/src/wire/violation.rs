use std::fmt;

/// Why a message is not read on: it is not HTTP/1.1, more than one message, or more than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A carriage return that no line feed follows (RFC 9112, section 2.2).
    BareCarriageReturn,
    /// A line feed that no carriage return precedes (RFC 9112, section 2.2).
    BareLineFeed,
    /// A control character in a line (RFC 9110, section 5.5).
    ControlCharacter,
    /// A line that continues the one before (RFC 9112, section 5.2).
    FoldedLine,
    /// A first line that is not `METHOD target HTTP/1.1` with one space between (RFC 9112, section 3).
    RequestLine,
    /// A first line that is not `HTTP/1.1 200 reason` (RFC 9112, section 4).
    StatusLine,
    /// A version that is neither 1.0 nor 1.1 (RFC 9112, section 2.3).
    Version,
    /// Another major version (RFC 9110, section 15.6.6).
    MajorVersion,
    /// A field without a name, or whose name is no token that a colon follows (RFC 9112, section 5.1).
    FieldName,
    /// A length that is not one number (RFC 9112, section 6.3).
    ContentLength,
    /// More than one length, equal or not (RFC 9112, section 6.3).
    RepeatedContentLength,
    /// A length beside a transfer coding (RFC 9112, section 6.3).
    TwoFramings,
    /// A transfer coding that is not `chunked` alone, or in HTTP/1.0 (RFC 9112, section 6.1).
    TransferEncoding,
    /// A transfer coding before `chunked` (RFC 9112, section 6.1).
    UnknownCoding,
    /// A chunk whose size is no hexadecimal number (RFC 9112, section 7.1).
    ChunkSize,
    /// A chunk that is longer than its size, or shorter (RFC 9112, section 7.1).
    ChunkEnd,
    /// A trailer that says how a message is framed or where it goes (RFC 9110, section 6.5.1).
    Trailer,
    /// An answer that nobody asked for (RFC 9112, section 9.2).
    Unasked,
    /// A body where there can be none (RFC 9110, sections 8.6 and 15.3.5).
    Bodiless,
    /// A head longer than `header_bytes_max`.
    HeaderBytes,
    /// More fields than `headers_max`.
    Headers,
    /// A target longer than `uri_bytes_max`.
    UriBytes,
    /// A head that took longer than `header_timeout`.
    HeaderTimeout,
    /// A body that paused for longer than `body_timeout`.
    BodyTimeout,
    /// A body that came slower than `body_rate_min`.
    BodyRate,
    /// More streams open together than `http2.streams_max`.
    Http2Streams,
    /// More streams that end in a reset than `http2.resets_max` (CVE-2023-44487, CVE-2025-8671).
    Http2Resets,
    /// More SETTINGS than `http2.settings_max` (CVE-2019-9515).
    Http2Settings,
    /// More PING than `http2.pings_max` (CVE-2019-9512).
    Http2Pings,
    /// More WINDOW_UPDATE than `http2.window_updates_max`.
    Http2WindowUpdates,
    /// More frames without effect than `http2.ignored_frames_max` (CVE-2019-9513).
    Http2IgnoredFrames,
    /// More empty DATA than `http2.empty_data_max` (CVE-2019-9518).
    Http2EmptyData,
    /// More CONTINUATION than `http2.continuations_max` (CVE-2024-27316).
    Http2Continuations,
    /// An error of the connection that h2 has answered with GOAWAY (RFC 9113, section 5.4.1), or for which hyper has
    /// ended it without a word.
    Http2Error,
}

impl Violation {
    /// All of them, in the order of their counters.
    pub(crate) const ALL: [Self; 34] = [
        Self::BareCarriageReturn,
        Self::BareLineFeed,
        Self::ControlCharacter,
        Self::FoldedLine,
        Self::RequestLine,
        Self::StatusLine,
        Self::Version,
        Self::MajorVersion,
        Self::FieldName,
        Self::ContentLength,
        Self::RepeatedContentLength,
        Self::TwoFramings,
        Self::TransferEncoding,
        Self::UnknownCoding,
        Self::ChunkSize,
        Self::ChunkEnd,
        Self::Trailer,
        Self::Unasked,
        Self::Bodiless,
        Self::HeaderBytes,
        Self::Headers,
        Self::UriBytes,
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::BodyRate,
        Self::Http2Streams,
        Self::Http2Resets,
        Self::Http2Settings,
        Self::Http2Pings,
        Self::Http2WindowUpdates,
        Self::Http2IgnoredFrames,
        Self::Http2EmptyData,
        Self::Http2Continuations,
        Self::Http2Error,
    ];

    /// Its name in metrics and events.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::BareLineFeed => "bare_line_feed",
            Self::ControlCharacter => "control_character",
            Self::FoldedLine => "folded_line",
            Self::RequestLine => "request_line",
            Self::StatusLine => "status_line",
            Self::Version => "version",
            Self::MajorVersion => "major_version",
            Self::FieldName => "field_name",
            Self::ContentLength => "content_length",
            Self::RepeatedContentLength => "repeated_content_length",
            Self::TwoFramings => "two_framings",
            Self::TransferEncoding => "transfer_encoding",
            Self::UnknownCoding => "unknown_coding",
            Self::ChunkSize => "chunk_size",
            Self::ChunkEnd => "chunk_end",
            Self::Trailer => "trailer",
            Self::Unasked => "unasked",
            Self::Bodiless => "bodiless",
            Self::HeaderBytes => "header_bytes_max",
            Self::Headers => "headers_max",
            Self::UriBytes => "uri_bytes_max",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyRate => "body_rate_min",
            Self::Http2Streams => "http2.streams_max",
            Self::Http2Resets => "http2.resets_max",
            Self::Http2Settings => "http2.settings_max",
            Self::Http2Pings => "http2.pings_max",
            Self::Http2WindowUpdates => "http2.window_updates_max",
            Self::Http2IgnoredFrames => "http2.ignored_frames_max",
            Self::Http2EmptyData => "http2.empty_data_max",
            Self::Http2Continuations => "http2.continuations_max",
            Self::Http2Error => "http2_error",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareCarriageReturn => "a carriage return stands without a line feed",
            Self::BareLineFeed => "a line ends without a carriage return",
            Self::ControlCharacter => "a control character stands in a line",
            Self::FoldedLine => "a line begins with white space, as if it continued the one before",
            Self::RequestLine => "the first line is not a method, a target and a version",
            Self::StatusLine => "the first line is not a version and a status",
            Self::Version => "the version is neither HTTP/1.0 nor HTTP/1.1",
            Self::MajorVersion => "the request is written in HTTP/1.1 and says that it is of another version",
            Self::FieldName => "a field does not begin with a name and a colon",
            Self::ContentLength => "Content-Length is not one number",
            Self::RepeatedContentLength => "Content-Length is there more than once",
            Self::TwoFramings => "Content-Length stands beside Transfer-Encoding",
            Self::TransferEncoding => "Transfer-Encoding is not `chunked` alone, in HTTP/1.1",
            Self::UnknownCoding => "Transfer-Encoding names a coding before `chunked` that is not known here",
            Self::ChunkSize => "the size of a chunk is no hexadecimal number",
            Self::ChunkEnd => "a chunk does not end where its size says",
            Self::Trailer => "a trailer says what only a header may",
            Self::Unasked => "an answer came that nobody asked for",
            Self::Bodiless => "a body is announced where there can be none",
            Self::HeaderBytes => "the headers are longer than header_bytes_max",
            Self::Headers => "there are more headers than headers_max",
            Self::UriBytes => "the target is longer than uri_bytes_max",
            Self::HeaderTimeout => "the headers took longer than header_timeout",
            Self::BodyTimeout => "the body paused for longer than body_timeout",
            Self::BodyRate => "the body came slower than body_rate_min",
            Self::Http2Streams => "more streams are open than http2.streams_max",
            Self::Http2Resets => "more streams were reset than http2.resets_max",
            Self::Http2Settings => "there are more SETTINGS frames than http2.settings_max",
            Self::Http2Pings => "there are more PING frames than http2.pings_max",
            Self::Http2WindowUpdates => "there are more WINDOW_UPDATE frames than http2.window_updates_max",
            Self::Http2IgnoredFrames => "there are more frames without effect than http2.ignored_frames_max",
            Self::Http2EmptyData => "there are more empty DATA frames than http2.empty_data_max",
            Self::Http2Continuations => {
                "the headers have more CONTINUATION frames than http2.continuations_max"
            }
            Self::Http2Error => "the connection is not HTTP/2",
        })
    }
}

impl std::error::Error for Violation {}
