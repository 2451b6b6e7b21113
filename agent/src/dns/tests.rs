//! The forwarder against nameservers of our own on loopback.
