//! Where nginx does not do as ours, and why.

use super::judgement::Judgement;

pub(super) const REQUESTS: &[Judgement] = &[
    Judgement {
        words: "it takes the tab before the host for a part of it, which 5.1 takes away",
        cases: &["white space around a value"],
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
        words: "it takes any number of carriage returns before a line feed for the end of the line, which 2.2 can be read to allow",
        cases: &["two carriage returns end a field"],
    },
    Judgement {
        words: "it keeps the character, which RFC 9110, 5.5 lets a recipient do where it is safe, as it is with services that do the same",
        cases: &["a control character in a value", "a vertical tab in a value", "a delete in a value"],
    },
    Judgement {
        words: "it answers in HTTP/0.9, a body without a head, which RFC 9112 no longer knows and other documents still do",
        cases: &["HTTP/0.9"],
    },
    Judgement {
        words: "it splits the first line at white space, which 3 lets a recipient do",
        cases: &[
            "two spaces before the target",
            "two spaces behind the target",
            "a space behind the version",
        ],
    },
    Judgement {
        words: "it passes the target on as it came, which RFC 9110, 2.2 forbids a sender; 3 has 400 or a redirect",
        cases: &["a target beyond ASCII", "a fragment in the target"],
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
        words: "it reads a minor version of more than one digit, of which 2.3 has one",
        cases: &["HTTP/1.10"],
    },
    Judgement {
        words: "it answers 400, where RFC 9110, 15.6.6 made 505 for it",
        cases: &["HTTP/0.9 by name"],
    },
    Judgement {
        words: "it answers 400, where RFC 9113, 3.4 leaves open how the connection ends",
        cases: &["a broken HTTP/2 preface"],
    },
    Judgement {
        words: "it makes a field with an empty value of the line, where 2.2 has 400 for what is no field",
        cases: &["a field without a colon"],
    },
    Judgement {
        words: "it drops fields whose names it does not like, unless told otherwise, where 2.2 has 400",
        cases: &["a name with a separator", "a name in brackets", "a name beyond ASCII"],
    },
    Judgement {
        words: "it looks for no more in a host than slashes and dots, and sends its own to the service; 3.2 has 400",
        cases: &["a host with a user", "a host with a port that is none"],
    },
    Judgement {
        words: "it drops names with an underscore, unless told otherwise, which keeps them from services that read it as a hyphen",
        cases: &["a length that some read as one", "a transfer coding that some read as one"],
    },
    Judgement {
        words: "it answers 501, which 6.1 made for a coding that is not understood; 6.3 has 400 as well",
        cases: &[
            "a transfer coding nobody knows",
            "identity",
            "gzip behind chunks",
            "chunks twice",
            "an empty transfer coding",
            "chunks in quotation marks",
            "chunks with a parameter",
            "nearly chunks",
            "chunks behind a vertical tab",
        ],
    },
    Judgement {
        words: "it knows no list of codings, and refuses as we do what RFC 9110, 5.6.1.2 wants read",
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
        words: "it reads the body to its end and drops trailers, which 7.1.2 allows, without looking at them",
        cases: &[
            "a folded trailer",
            "a length as a trailer",
            "a transfer coding as a trailer",
            "a host as a trailer",
        ],
    },
    Judgement {
        words: "it drops trailers without looking at them, and so takes for one what 5 does not",
        cases: &["a trailer without a colon", "a request behind the last chunk"],
    },
    Judgement {
        words: "it closes without a word, as RFC 9112, 8 lets it",
        cases: &[
            "half a request line",
            "half a head",
            "half a head behind a request",
            "half a body",
            "half a chunk",
            "no last chunk",
        ],
    },
];

pub(super) const ANSWERS: &[Judgement] = &[
    Judgement {
        words: "it goes by the coding and drops the length, as 6.3 has it for those who pass it on",
        cases: &["a length and chunks", "chunks and a length"],
    },
    Judgement {
        words: "it takes the last of the lengths, where 6.3 says that the answer must be discarded",
        cases: &["two lengths"],
    },
    Judgement {
        words: "it passes one length on, as RFC 9110, 8.6 allows where they are the same",
        cases: &["the same length twice"],
    },
    Judgement {
        words: "it reads until the connection ends as if there was no length, where 6.3 says that the answer must be discarded",
        cases: &[
            "two lengths in one field",
            "a length below zero",
            "a length with a sign",
            "a length in hexadecimal",
            "an empty length",
        ],
    },
    Judgement {
        words: "it reads until the connection ends as if there was no length, where RFC 9110, 8.6 wants large ones foreseen",
        cases: &["a length above 64 bits"],
    },
    Judgement {
        words: "it reads until the connection ends, as 6.3 has it, but does not tell the client of the coding",
        cases: &["a transfer coding nobody knows", "identity"],
    },
    Judgement {
        words: "it takes the chunks apart and does not tell the client of gzip, which 6.1 has a proxy do only when it was undone",
        cases: &["gzip before chunks"],
    },
    Judgement {
        words: "it looks for `chunked` anywhere in the value, where 6.3 wants it last and once",
        cases: &["gzip behind chunks", "chunks twice", "chunks behind a vertical tab"],
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
        ],
    },
    Judgement {
        words: "it passes the carriage return on, where 2.2 has it refused or replaced",
        cases: &["a bare carriage return in the reason"],
    },
    Judgement {
        words: "it keeps the character, which RFC 9110, 5.5 lets a recipient do where it is safe, as it is with services that do the same",
        cases: &["a control character in a value"],
    },
    Judgement {
        words: "it makes a field with an empty value of the line, which RFC 9110, 2.4 leaves to it",
        cases: &["a field without a colon"],
    },
    Judgement {
        words: "it passes on whatever does not begin as HTTP/1 as an answer of HTTP/0.9, without a head, to a client that asked in HTTP/1.1",
        cases: &[
            "HTTP/0.9",
            "another protocol",
            "a version in small letters",
            "a status of two digits",
            "a status that is none",
            "a request for an answer",
        ],
    },
    Judgement {
        words: "it takes any major version for HTTP/1.1, where RFC 9110, 2.5 lets it do so with minor ones",
        cases: &["HTTP/2.0"],
    },
    Judgement {
        words: "it serves a minor version that it does not know as HTTP/1.1, as RFC 9110, 2.5 has it",
        cases: &["HTTP/1.2"],
    },
    Judgement {
        words: "it passes on all digits of the status, where RFC 9110, 15 has a client take it for a failure",
        cases: &["a status of four digits", "a status below 100"],
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
        words: "it closes without a word, where RFC 9110, 15.6.3 made 502 for it",
        cases: &["another protocol without being asked"],
    },
    Judgement {
        words: "it takes 103 for the last answer, and so gives it the body that 6.3 says it can not have",
        cases: &["a length in an early answer"],
    },
    Judgement {
        words: "it ends the answer after its head, as 6.3 has it, and drops the rest",
        cases: &["a length without a body", "chunks without a body"],
    },
    Judgement {
        words: "it ends lines among chunks at a line feed too, which RFC 9110, 2.4 leaves to it",
        cases: &[
            "a bare line feed behind a chunk size",
            "a chunk that ends in a bare line feed",
            "trailers that end in a bare line feed",
        ],
    },
    Judgement {
        words: "it drops trailers without looking at them, which 7.1.2 allows",
        cases: &["a folded trailer", "a length as a trailer"],
    },
];
