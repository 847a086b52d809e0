use intertie_observe::logged_request::LoggedRequest;

/// A line is read, or it is said why not; its end is no part of it, and what it holds is within bounds.
pub(crate) fn line(input: &[u8]) {
    let read = LoggedRequest::parse(input);
    let ended = LoggedRequest::parse(&[input, b"\r\n"].concat());
    match (&read, &ended) {
        (Ok(read), Ok(ended)) => assert_eq!(read, ended),
        (Err(read), Err(ended)) => assert_eq!(read.to_string(), ended.to_string()),
        _ => panic!("its end decides: {read:?}, {ended:?}"),
    }
    let Ok(request) = read else { return };
    assert!(!request.method.is_empty() && !request.path.is_empty());
    assert!(request.began() <= request.at, "it began after it ended");
    assert!(request.path.len() <= input.len() * 4, "more than came");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_read() {
        for input in crate::corpus::ACCESS_LOG {
            assert!(LoggedRequest::parse(input).is_ok(), "{}", input.escape_ascii());
        }
    }
}
