//! A name's addresses, as the pod sees them: search list and `ndots` of resolv.conf(5).

use std::net::IpAddr;

use super::Resolver;
use super::message::{Addresses, Query, RecordType, addresses};

/// A name without addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// It does not exist, or has no address.
    NotFound,
    /// It may exist; the nameservers could not tell.
    Failed,
}

impl Resolver {
    /// Addresses of the first candidate that has any, IPv4 first.
    pub(crate) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let mut failed = false;
        for candidate in self.candidates(name) {
            let (v4, v6) = tokio::join!(
                self.addresses(&candidate, RecordType::A),
                self.addresses(&candidate, RecordType::Aaaa)
            );
            let mut found = Vec::new();
            for answer in [v4, v6] {
                match answer {
                    Addresses::Found(addresses) => found.extend(addresses),
                    Addresses::NoSuchName => {}
                    Addresses::Failed => failed = true,
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(match failed {
            true => LookupError::Failed,
            false => LookupError::NotFound,
        })
    }

    async fn addresses(&self, name: &str, record_type: RecordType) -> Addresses {
        let Some(query) = Query::new(name, record_type) else {
            return Addresses::NoSuchName;
        };
        match self.forward(query.bytes()).await {
            Ok(answer) => addresses(&answer, record_type),
            Err(_) => Addresses::Failed,
        }
    }

    /// Full names to try, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut searched: Vec<String> = self
            .conf
            .search
            .iter()
            .map(|domain| format!("{name}.{domain}."))
            .collect();
        let itself = format!("{name}.");
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        match dots >= self.conf.ndots {
            true => searched.insert(0, itself),
            false => searched.push(itself),
        }
        searched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolv_conf;

    #[test]
    fn names_with_few_dots_are_searched_first() {
        let resolver = Resolver::new(resolv_conf::parse("search a.b c\noptions ndots:2\n".into()));
        assert_eq!(resolver.candidates("web"), ["web.a.b.", "web.c.", "web."]);
        assert_eq!(
            resolver.candidates("web.x.y"),
            ["web.x.y.", "web.x.y.a.b.", "web.x.y.c."]
        );
        assert_eq!(resolver.candidates("web."), ["web."]);
    }
}
