//! The little of WebSocket (RFC 6455) that is spoken here: messages of one length, masked by zeros.

use anyhow::{Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::mix::{MESSAGE_BYTES, TURN, TURNS};

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;

/// Sends messages and gets them back, `slower` times as slowly, until both sides have said that it is over.
pub(super) async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, slower: u32) -> Result<()> {
    for turn in 0..TURNS {
        tokio::time::sleep(TURN * slower).await;
        let message = [turn as u8; MESSAGE_BYTES];
        let mut frame = vec![BINARY, MASKED | MESSAGE_BYTES as u8, 0, 0, 0, 0];
        frame.extend_from_slice(&message);
        stream.write_all(&frame).await?;
        let mut answer = [0; 2 + MESSAGE_BYTES];
        stream.read_exact(&mut answer).await?;
        ensure!(answer[0] == BINARY && answer[2..] == message, "another message came back");
    }
    stream.write_all(&[CLOSE, MASKED, 0, 0, 0, 0]).await?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    ensure!(rest == [CLOSE, 0], "the end is none");
    Ok(stream.shutdown().await?)
}

/// Sends back what comes.
pub(super) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    loop {
        let mut head = [0; 6];
        stream.read_exact(&mut head).await?;
        let mut message = vec![0; usize::from(head[1] & !MASKED)];
        stream.read_exact(&mut message).await?;
        let mut frame = vec![head[0], message.len() as u8];
        frame.extend_from_slice(&message);
        stream.write_all(&frame).await?;
        if head[0] == CLOSE {
            return Ok(stream.shutdown().await?);
        }
    }
}

/// What a service answers to a client's `key`.
pub(super) fn accept(key: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let whole = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, whole.as_bytes());
    let mut text = String::new();
    for bytes in digest.as_ref().chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(bytes.get(at).copied().unwrap_or(0)));
        let letters = (0..4).map(|at| char::from(ALPHABET[bits >> (18 - 6 * at) & 63]));
        text.extend(letters.take(bytes.len() + 1));
    }
    // 20 bytes are two short of whole letters.
    text.push('=');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_the_rfc_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
