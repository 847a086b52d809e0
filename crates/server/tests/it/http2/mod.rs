//! HTTP/2 from clients: what frames may do to the gateway.

mod floods;
mod frames;
mod limits;
mod windows;
