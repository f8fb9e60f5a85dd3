//! What the embedder's packets must tell and do.

use fielato_wire::Headers;

/// A packet on its way out, owned by the queue it waits in.
pub trait Packet: Sized {
    /// From the IP header on; of a superpacket, all its bytes.
    fn bytes(&self) -> &[u8];

    /// The same, to be changed: netem corrupts, codel marks. A checksum that was left for later is completed first, so that it
    /// does not mend what netem damages.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Payload bytes of each segment of a superpacket (TSO, USO); 0 for a plain packet.
    fn segment_size(&self) -> u16;

    /// Cuts a superpacket into its segments, in order; a plain packet comes out as it is.
    fn split(self, each: &mut dyn FnMut(Self));

    /// A second packet with the same content.
    fn duplicate(&self) -> Self;

    /// The kernel's `skb->priority`: `MAJOR << 16 | MINOR` names a class (iptables' `CLASSIFY`).
    fn priority(&self) -> u32;

    /// The packet's mark.
    fn mark(&self) -> u32;

    /// The packet's headers; `None` when they make no sense. Overridden where they are known already.
    fn headers(&self) -> Option<Headers> {
        Headers::parse(self.bytes()).ok()
    }
}
