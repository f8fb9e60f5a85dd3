//! Netlink attributes: a length, a type, a value, padding to four bytes.

const HEADER_LEN: usize = 4;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`, which are not part of the type.
const TYPE_MASK: u16 = 0x3fff;

pub fn push(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(HEADER_LEN + value.len()).expect("an attribute of tc is far below 64 KiB");
    buffer.extend_from_slice(&length.to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(value);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}

pub fn push_u32(buffer: &mut Vec<u8>, kind: u16, value: u32) {
    push(buffer, kind, &value.to_ne_bytes());
}

pub fn push_u64(buffer: &mut Vec<u8>, kind: u16, value: u64) {
    push(buffer, kind, &value.to_ne_bytes());
}

/// The value of the first attribute of that type; what follows a malformed one is not seen.
pub fn find(mut buffer: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [l0, l1, k0, k1, ..] = *buffer {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = buffer.get(HEADER_LEN..length)?;
        if u16::from_ne_bytes([k0, k1]) & TYPE_MASK == wanted {
            return Some(value);
        }
        buffer = buffer.get(length.next_multiple_of(4)..)?;
    }
    None
}

pub fn u32_at(value: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(offset..offset + 4)?.try_into().ok()?))
}

pub fn u64_at(value: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(value.get(offset..offset + 8)?.try_into().ok()?))
}

pub fn find_u32(buffer: &[u8], wanted: u16) -> Option<u32> {
    u32_at(find(buffer, wanted)?, 0)
}

pub fn find_u64(buffer: &[u8], wanted: u16) -> Option<u64> {
    u64_at(find(buffer, wanted)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_found() {
        let mut buffer = Vec::new();
        push(&mut buffer, 1, b"htb\0x");
        push_u32(&mut buffer, 2 | 0x8000, 7);
        assert_eq!(buffer.len(), 12 + 8);
        assert_eq!(find(&buffer, 1), Some(&b"htb\0x"[..]));
        assert_eq!(find_u32(&buffer, 2), Some(7));
        assert_eq!(find(&buffer, 3), None);
    }

    #[test]
    fn malformed_attributes_end_the_search() {
        for buffer in [&[3, 0, 1, 0, 9, 9, 9, 9][..], &[200, 0, 1, 0, 1], &[0, 0, 0, 0], &[8, 0, 1]] {
            assert_eq!(find_u32(buffer, 1), None, "{buffer:?}");
        }
    }
}
