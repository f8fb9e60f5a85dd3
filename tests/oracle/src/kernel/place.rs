//! Namespaces one after another: what may still wait in one after a case is left behind with it.

use std::thread::{self, JoinHandle};

use fielato_wire::Headers;

use super::namespace::{Blueprint, Namespace};
use crate::error::Error;
use crate::subject::Port;

/// A namespace is left after so many cases, so that nothing can pile up.
const CASES_PER_NAMESPACE: u32 = 100;

/// A namespace in use, and the one after it.
pub struct Place {
    blueprint: Blueprint,
    namespace: Option<Namespace>,
    /// How many there were before it.
    generation: u64,
    /// Cases it has seen.
    cases: u32,
    /// Incomplete datagrams may wait in it, which nothing but time removes: the next case gets another namespace.
    spoiled: bool,
    /// That other one, on its way: making it takes a few round trips of RCU, in which the case goes on.
    next: Option<JoinHandle<Result<Namespace, Error>>>,
}

impl Place {
    /// One without a namespace yet.
    pub fn new(blueprint: Blueprint) -> Self {
        Self {
            blueprint,
            namespace: None,
            generation: 0,
            cases: 0,
            spoiled: false,
            next: None,
        }
    }

    /// The namespace for the next case.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn enter(&mut self) -> Result<&mut Namespace, Error> {
        self.cases += 1;
        if self.namespace.is_none() || self.spoiled || self.cases > CASES_PER_NAMESPACE {
            self.namespace = None;
            let next = match self.next.take().map(JoinHandle::join) {
                Some(Ok(next)) => next,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => Namespace::create(self.blueprint.clone()),
            };
            (self.namespace, self.cases, self.spoiled) = (Some(next?), 1, false);
            self.generation += 1;
        }
        self.namespace()
    }

    /// The number of the namespace: what was made in one of another number is gone.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The next case gets another namespace.
    pub fn leave(&mut self) {
        self.spoiled = true;
    }

    /// The namespace of this case.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn namespace(&mut self) -> Result<&mut Namespace, Error> {
        self.namespace.as_mut().ok_or_else(|| Error::Rules {
            subject: "kernel",
            reason: "none were loaded".to_owned(),
        })
    }

    /// Gives the kernel a packet that arrives at `port`. What it brings about has been done when this returns.
    ///
    /// # Errors
    /// When the packet can't be handed over.
    pub fn inject(&mut self, port: Port, packet: &[u8]) -> Result<(), Error> {
        if Headers::parse(packet).is_ok_and(|headers| headers.is_fragment()) {
            self.spoiled = true;
            let blueprint = &self.blueprint;
            self.next.get_or_insert_with(|| {
                let blueprint = blueprint.clone();
                thread::spawn(move || Namespace::create(blueprint))
            });
        }
        self.namespace()?.inject(port, packet)
    }
}
