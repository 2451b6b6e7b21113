//! From a question to an answer, without any IO.

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record};

use super::records::{Found, Records};

/// The length of a message's header: what is shorter cannot even be refused.
const HEADER: usize = 12;

/// The largest message over UDP to a client without EDNS (RFC 1035).
const SMALLEST_LIMIT: u16 = 512;

/// The largest message over UDP that this server sends, and what it says it takes (the DNS flag day's figure).
const LARGEST_LIMIT: u16 = 1232;

/// The transport of a query, which decides how long an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// An answer that is too long is truncated, and the client asks again over TCP.
    Udp,
    /// Every answer fits.
    Tcp,
}

/// Answers one message. `None` for messages without an answer: garbage, and responses.
pub fn answer(
    records: &Records,
    question: &[u8],
    transport: Transport,
) -> Option<Result<Vec<u8>, ProtoError>> {
    if question.len() < HEADER {
        return None;
    }
    let request = match Message::from_vec(question) {
        Ok(request) => request,
        Err(_) => {
            let id = u16::from_be_bytes([question[0], question[1]]);
            let is_response = question[2] & 0x80 != 0;
            return (!is_response)
                .then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec());
        }
    };
    if request.metadata.message_type == MessageType::Response {
        return None;
    }
    let response = respond(records, &request);
    Some(encode(&response, &request, transport))
}

fn respond(records: &Records, request: &Message) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_LIMIT);
        response.set_edns(edns);
    }
    match (request.metadata.op_code, request.queries.as_slice()) {
        (OpCode::Query, [query]) if query.query_class == DNSClass::IN => fill(&mut response, records, query),
        (OpCode::Query, [_]) => response.metadata.response_code = ResponseCode::Refused,
        (OpCode::Query, _) => response.metadata.response_code = ResponseCode::FormErr,
        _ => response.metadata.response_code = ResponseCode::NotImp,
    }
    response
}

fn fill(response: &mut Message, records: &Records, query: &Query) {
    response.metadata.authoritative = true;
    match records.find(&query.name, query.query_type) {
        Found::Records(found) => {
            response.add_additionals(targets(records, &found));
            response.add_answers(found);
        }
        Found::NoData => {
            response
                .add_authorities(records.authority(&query.name))
                .metadata
                .response_code = ResponseCode::NoError
        }
        Found::NoName => {
            response
                .add_authorities(records.authority(&query.name))
                .metadata
                .response_code = ResponseCode::NXDomain;
        }
        Found::Broken => {
            response.metadata.authoritative = false;
            response.metadata.response_code = ResponseCode::ServFail;
        }
    }
}

/// The addresses of what SRV records point at, each target once.
fn targets(records: &Records, found: &[Record]) -> Vec<Record> {
    let mut seen = Vec::new();
    for record in found {
        if let RData::SRV(srv) = &record.data
            && !seen.contains(&&srv.target)
        {
            seen.push(&srv.target);
        }
    }
    seen.into_iter()
        .flat_map(|target| records.addresses(target))
        .collect()
}

fn encode(response: &Message, request: &Message, transport: Transport) -> Result<Vec<u8>, ProtoError> {
    let bytes = response.to_vec()?;
    let requested = request.edns.as_ref().map_or(SMALLEST_LIMIT, Edns::max_payload);
    let limit = requested.clamp(SMALLEST_LIMIT, LARGEST_LIMIT);
    if transport == Transport::Tcp || bytes.len() <= usize::from(limit) {
        return Ok(bytes);
    }
    response.truncate().to_vec()
}
