//! Where HAProxy does not do as ours, and why.

use super::judgement::Judgement;

pub(super) const REQUESTS: &[Judgement] = &[
    Judgement {
        words: "it answers 400 to a host that is not the target's, where 3.2.2 has the target's count and 3.2 forbids clients to send two",
        cases: &["the target's host counts, not the other"],
    },
    Judgement {
        words: "it ends lines at a line feed, which 2.2 lets a recipient do",
        cases: &[
            "a bare line feed ends the request line",
            "a bare line feed ends a field",
            "a bare line feed ends the head",
            "bare line feeds everywhere",
            "a bare line feed before a request",
            "a bare line feed in a second request",
            "trailers that end in a bare line feed",
            "a bare line feed in a trailer",
        ],
    },
    Judgement {
        words: "it ignores any number of empty lines, where 2.2 asks for at least one",
        cases: &["two empty lines before a request"],
    },
    Judgement {
        words: "it passes the zero byte on, where RFC 9110, 5.5 has it refused or replaced; the service refuses it",
        cases: &["a zero byte in a value"],
    },
    Judgement {
        words: "it keeps the character, which RFC 9110, 5.5 lets a recipient do where it is safe, as it is with services that do the same",
        cases: &["a control character in a value", "a vertical tab in a value", "a delete in a value"],
    },
    Judgement {
        words: "it splits the first line at white space, which 3 lets a recipient do",
        cases: &[
            "two spaces before the target",
            "two spaces behind the target",
            "a tab before the target",
            "a tab before the version",
        ],
    },
    Judgement {
        words: "it takes anything for a target, where 3.2 wants a slash, a URL, an authority or, of OPTIONS alone, an asterisk",
        cases: &["a target without a slash", "an asterisk with GET"],
    },
    Judgement {
        words: "it leaves the segments to the service, which RFC 9110, 4.2.3 does not forbid",
        cases: &["dot segments"],
    },
    Judgement {
        words: "it serves a minor version that it does not know as HTTP/1.1, as RFC 9110, 2.5 has it",
        cases: &["HTTP/1.2"],
    },
    Judgement {
        words: "it takes any digit for a version and sends its own to the service, where RFC 9110, 15.6.6 made 505 for a major one that it does not know",
        cases: &["HTTP/2.0 in the words of HTTP/1", "HTTP/3.0"],
    },
    Judgement {
        words: "it passes a version on in which no heads are, where RFC 9110, 2.5 has a proxy send its own",
        cases: &["HTTP/0.9 by name"],
    },
    Judgement {
        words: "it answers 400, where RFC 9113, 3.4 leaves open how the connection ends",
        cases: &["a broken HTTP/2 preface"],
    },
    Judgement {
        words: "it puts spaces for the fold and the line in one, which is what 5.2 has for those who do not refuse",
        cases: &[
            "a folded value",
            "a value folded by a tab",
            "a folded transfer coding",
            "a folded length",
            "a line of white space alone",
        ],
    },
    Judgement {
        words: "it looks neither for a host nor for what is no host, where 3.2 has 400, and passes on what it got",
        cases: &[
            "no host",
            "two hosts in one field",
            "a host with a user",
            "a host with a path",
            "a host with a port that is none",
        ],
    },
    Judgement {
        words: "it makes one of equal hosts, where 3.2 has 400 for more than one line",
        cases: &["the same host twice"],
    },
    Judgement {
        words: "it passes the empty host on, which 3.3 leaves to the service",
        cases: &["an empty host"],
    },
    Judgement {
        words: "it makes one of equal lengths, which RFC 9110, 8.6 allows",
        cases: &["the same length twice", "the same length twice in one field"],
    },
    Judgement {
        words: "its number overflows and it passes the digits on, where RFC 9110, 8.6 has overflow prevented; the service refuses them",
        cases: &["a length above 64 bits"],
    },
    Judgement {
        words: "it passes on names with an underscore, as RFC 9110, 5.1 has it, and this service reads them as a hyphen and waits",
        cases: &["a length that some read as one", "a transfer coding that some read as one"],
    },
    Judgement {
        words: "it goes by the coding, drops the length and closes, which is what 6.1 has for those who do not refuse",
        cases: &[
            "a length before a transfer coding",
            "a length behind a transfer coding",
            "a request between two framings",
            "a length of zero beside chunks",
        ],
    },
    Judgement {
        words: "it passes the coding on in HTTP/1.0, whose framing 6.1 calls faulty",
        cases: &["chunks in HTTP/1.0"],
    },
    Judgement {
        words: "it answers 422, where 6.1 made 501 for a coding that is not understood",
        cases: &["gzip before chunks"],
    },
    Judgement {
        words: "it answers 422 to what RFC 9110, 5.6.1.2 wants read",
        cases: &["chunks behind a comma"],
    },
    Judgement {
        words: "it skips the white space where 7.1.1 has some before a semicolon alone",
        cases: &["a space behind a chunk size"],
    },
    Judgement {
        words: "it skips the white space, as RFC 9110, 5.6.3 has it before a semicolon",
        cases: &["a tab before a chunk extension"],
    },
    Judgement {
        words: "it ends lines among chunks at a line feed too, of which 2.2 speaks for fields alone",
        cases: &[
            "a bare line feed behind a chunk size",
            "a chunk that is shorter than its size",
            "a chunk that ends in a bare line feed",
            "a last chunk that ends in a bare line feed",
            "a bare line feed in a chunk extension",
        ],
    },
    Judgement {
        words: "it skips chunk extensions without looking at them, of which 7.1.1 has the grammar",
        cases: &["a zero byte in a chunk extension"],
    },
    Judgement {
        words: "it puts spaces for the fold, which is what 5.2 has for those who do not refuse",
        cases: &["a folded trailer"],
    },
    Judgement {
        words: "it passes trailers on as they are, apart from the head as RFC 9110, 6.5.1 wants it, and leaves it to the service to ignore them",
        cases: &["a length as a trailer", "a transfer coding as a trailer", "a host as a trailer"],
    },
    Judgement {
        words: "it passes on what there is before it has all, and so waits for its service, which waits for the rest",
        cases: &["half a body", "half a chunk", "no last chunk"],
    },
];

pub(super) const ANSWERS: &[Judgement] = &[
    Judgement {
        words: "it goes by the coding and drops the length, as 6.3 has it for those who pass it on",
        cases: &["a length and chunks", "chunks and a length"],
    },
    Judgement {
        words: "it makes one of equal lengths, which RFC 9110, 8.6 allows",
        cases: &["the same length twice"],
    },
    Judgement {
        words: "its number overflows and it passes the digits on, so that the client waits for more than comes",
        cases: &["a length above 64 bits"],
    },
    Judgement {
        words: "it goes by the coding and closes, as 6.1 allows, though that was made after HTTP/1.0",
        cases: &["chunks in HTTP/1.0"],
    },
    Judgement {
        words: "it ends lines at a line feed, which 2.2 lets a recipient do",
        cases: &[
            "a bare line feed behind the status",
            "a bare line feed behind a field",
            "a bare line feed behind the head",
            "trailers that end in a bare line feed",
        ],
    },
    Judgement {
        words: "it passes the zero byte on, where RFC 9110, 5.5 has it refused or replaced",
        cases: &["a zero byte in a value"],
    },
    Judgement {
        words: "it keeps the character, which RFC 9110, 5.5 lets a recipient do where it is safe, as it is with services that do the same",
        cases: &["a control character in a value"],
    },
    Judgement {
        words: "it puts spaces for the fold, which is what 5.2 has for those who do not refuse",
        cases: &["a folded value", "a folded length", "a folded trailer"],
    },
    Judgement {
        words: "it takes any digit for a version and sends its own to the client, where RFC 9110, 2.5 lets it do so with minor ones",
        cases: &["HTTP/2.0"],
    },
    Judgement {
        words: "it serves a minor version that it does not know as HTTP/1.1, as RFC 9110, 2.5 has it",
        cases: &["HTTP/1.2"],
    },
    Judgement {
        words: "it passes on whatever digits the status has, where RFC 9110, 15 has a client take it for a failure",
        cases: &["a status of two digits", "a status of four digits", "a status below 100"],
    },
    Judgement {
        words: "it splits the first line at white space, which 4 lets a recipient do",
        cases: &["two spaces before the status"],
    },
    Judgement {
        words: "it ignores empty lines here too, which RFC 9110, 2.4 leaves to it",
        cases: &["an empty line before the answer"],
    },
    Judgement {
        words: "it ends the answer after its head, as 6.3 has it, and drops the rest",
        cases: &["a length without a body", "chunks without a body"],
    },
    Judgement {
        words: "it has not sent the head yet when it sees the fault, and so can still answer 502",
        cases: &[
            "a chunk size that is none",
            "a chunk size with a sign",
            "a chunk size above 64 bits",
            "a chunk that is longer than its size",
        ],
    },
    Judgement {
        words: "it ends lines among chunks at a line feed too, which RFC 9110, 2.4 leaves to it",
        cases: &["a bare line feed behind a chunk size", "a chunk that ends in a bare line feed"],
    },
    Judgement {
        words: "it passes trailers on as they are, apart from the head as RFC 9110, 6.5.1 wants it",
        cases: &["a length as a trailer"],
    },
];
