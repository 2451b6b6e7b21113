//! The answers of the scripted relay as a name server.
//!
//! The first label of a query's name chooses the answer, and the type of the query its records.

use kinject_protocol::NameFailure;
use kinject_protocol::control::{Reply, Search};
use std::net::IpAddr;

const HEADER: usize = 12;
const DOMAIN: &str = "default.svc.cluster.local";

/// The question of a message: name, type, class.
pub(crate) fn question(message: &[u8]) -> String {
    let (labels, end) = labels(message);
    let numbers: Vec<_> = message[end..end + 4]
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]).to_string())
        .collect();
    format!("{} {}", labels.join("."), numbers.join(" "))
}

fn labels(message: &[u8]) -> (Vec<String>, usize) {
    let mut labels = Vec::new();
    let mut at = HEADER;
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).into_owned());
        at = end;
    }
    (labels, at + 1)
}

/// The answer to a message; none if the relay closes the conversation instead.
pub(crate) fn query(message: &[u8], search: Option<Search>) -> Option<Reply> {
    let (labels, end) = labels(message);
    let first = labels.first().map_or("", String::as_str);
    let failure = match first {
        "missing" => NameFailure::NotFound,
        "nodata" => NameFailure::NoData,
        "broken" => NameFailure::TryAgain,
        "refused" => NameFailure::NoRecovery,
        "hangup" => return None,
        "confused" => return Some(Reply::Connected),
        "garbage" => return Some(Reply::Answer(b"?".to_vec())),
        _ => return Some(Reply::Answer(answer(message, end, search.is_some()))),
    };
    if search.is_some() {
        return Some(Reply::NameFailed(failure));
    }
    let mut answer = message[..end + 4].to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80
        | match failure {
            NameFailure::NotFound => 3,
            NameFailure::NoData => 0,
            NameFailure::TryAgain => 2,
            NameFailure::NoRecovery => 4,
        };
    answer[10..HEADER].fill(0);
    Some(Reply::Answer(answer))
}

/// One address record, or text records, of which "many" has 200; a search appends the domain to the name.
fn answer(message: &[u8], end: usize, is_search: bool) -> Vec<u8> {
    let mut answer = message[..end - 1].to_vec();
    answer[2] |= 0x80;
    answer[3] |= 0x80;
    if is_search {
        for label in DOMAIN.split('.') {
            answer.push(label.len() as u8);
            answer.extend(label.as_bytes());
        }
    }
    answer.push(0);
    answer.extend(&message[end..end + 4]);
    let kind = u16::from_be_bytes([message[end], message[end + 1]]);
    let count: u16 = if message[HEADER + 1..].starts_with(b"many") {
        200
    } else {
        1
    };
    let data: &[u8] = if kind == 1 { &[10, 96, 10, 1] } else { b"\x04text" };
    answer[6..8].copy_from_slice(&count.to_be_bytes());
    answer[8..HEADER].fill(0);
    for _ in 0..count {
        answer.extend([0xc0, 0x0c]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 30]);
        answer.extend((data.len() as u16).to_be_bytes());
        answer.extend(data);
    }
    answer
}

/// The names of an address; none if the relay closes the conversation instead.
pub(crate) fn reverse(address: IpAddr) -> Option<Reply> {
    let names: &[&str] = match address.to_string().as_str() {
        "10.96.10.1" => &["web.default.svc.cluster.local"],
        "10.244.0.5" => &["db-0.db.default.svc.cluster.local", "alias.test"],
        "fd00::6" => &["six.default.svc.cluster.local"],
        // bücher.test
        "10.96.10.90" => &["xn--bcher-kva.test"],
        "10.96.10.100" => return Some(Reply::NameFailed(NameFailure::TryAgain)),
        "10.96.10.101" => return Some(Reply::NameFailed(NameFailure::NoRecovery)),
        "10.96.10.102" => return Some(Reply::NameFailed(NameFailure::NoData)),
        "10.96.10.103" => return Some(Reply::Connected),
        "10.96.10.104" => return Some(Reply::Names(vec![])),
        "10.96.10.105" => return None,
        "192.168.9.9" => return Some(Reply::Local),
        _ => return Some(Reply::NameFailed(NameFailure::NotFound)),
    };
    Some(Reply::Names(
        names.iter().map(|name| name.as_bytes().to_vec()).collect(),
    ))
}
