//! The command line, driven as a person or a service manager drives it: the real binary, its files below a folder of the
//! test's own, its interfaces in namespaces of the test's own.

mod applied;
mod captures;
mod common;
mod documents;
mod engines;
mod examples;
mod import;
mod judged;
mod members;
mod packet;
mod refused;
mod rendered;
mod rootless;
mod running;
mod service;
mod sessions;
mod traced;
