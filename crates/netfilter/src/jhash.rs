//! The kernel's hash of words (`linux/jhash.h`), where its outcome is to be the kernel's: Bob Jenkins' lookup3 (public domain).

/// Where the hash begins (`JHASH_INITVAL`).
const INITIAL: u32 = 0xdead_beef;

/// The hash of `key` (`jhash2`; `jhash_1word` and its siblings are the same for as many words).
pub(crate) fn jhash(key: &[u32], seed: u32) -> u32 {
    let start = INITIAL.wrapping_add((key.len() as u32) << 2).wrapping_add(seed);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = key;
    while let [first, second, third, more @ ..] = rest {
        (a, b, c) = (a.wrapping_add(*first), b.wrapping_add(*second), c.wrapping_add(*third));
        if more.is_empty() {
            return finish(a, b, c);
        }
        (a, b, c) = mix(a, b, c);
        rest = more;
    }
    match rest {
        [first, second] => finish(a.wrapping_add(*first), b.wrapping_add(*second), c),
        [first] => finish(a.wrapping_add(*first), b, c),
        _ => c,
    }
}

const fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

const fn finish(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_key_and_seed_counts() {
        let base = jhash(&[1, 2, 3, 4], 5);
        assert_eq!(base, jhash(&[1, 2, 3, 4], 5));
        for bit in 0..128 {
            let mut key = [1, 2, 3, 4];
            key[bit / 32] ^= 1 << (bit % 32);
            assert_ne!(jhash(&key, 5), base, "bit {bit}");
        }
        for bit in 0..32 {
            assert_ne!(jhash(&[1, 2, 3, 4], 5 ^ (1 << bit)), base, "seed bit {bit}");
        }
    }
}
