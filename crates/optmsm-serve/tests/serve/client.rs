//! A client of HTTP/1.1 on a socket, which sees every byte.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Bytes that came behind the last answer.
    rest: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.text()))
    }

    /// The text of an error.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }

    pub(crate) fn probabilities(&self) -> Vec<f32> {
        assert_eq!(self.status, 200, "{}", self.text());
        let list = self.json()["probabilities"].as_array().unwrap().clone();
        list.iter().map(|p| p.as_f64().unwrap() as f32).collect()
    }

    pub(crate) fn closes(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value == "close")
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::try_new(address).unwrap()
    }

    pub(crate) fn try_new(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        // A server that hangs fails the test.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, rest: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, &[("Content-Type", "application/json")], body.as_bytes())
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_ask(method, path, headers, body).unwrap()
    }

    pub(crate) fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let request = request(method, path, headers, body);
        // The server may answer and close before it has all; the answer is read all the same.
        let sent = self.send(&request);
        self.reply().map_err(|e| sent.err().unwrap_or(e))
    }

    /// Reads an answer.
    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        loop {
            let end = self.rest.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            if let Some(end) = end {
                let head = String::from_utf8(self.rest[..end].to_vec()).map_err(io::Error::other)?;
                let mut lines = head.split("\r\n");
                let status =
                    lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|n| n.parse().ok());
                let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
                let header = |line: &str| {
                    let (name, value) = line.split_once(": ")?;
                    Some((name.to_ascii_lowercase(), value.to_owned()))
                };
                let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
                if status == 100 {
                    self.rest.drain(..end);
                    continue;
                }
                let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
                while self.rest.len() < end + length {
                    self.more()?;
                }
                let body = self.rest[end..end + length].to_vec();
                self.rest.drain(..end + length);
                return Ok(Reply { status, headers, body });
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut part = [0; 16384];
        match self.stream.read(&mut part)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.rest.extend_from_slice(&part[..n]);
                Ok(())
            }
        }
    }

    /// Whether the server closed the connection, with nothing more to say.
    pub(crate) fn is_closed(&mut self) -> bool {
        let gone = self.more().err().map(|e| e.kind());
        matches!(gone, Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset))
    }
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}
