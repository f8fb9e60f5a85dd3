//! Options of transport headers: kind, length, value.

/// The option of this kind, from its kind byte to the end of `options`. Kinds 0 and 1 are single bytes; the kernel goes on
/// behind an end-of-list byte, and by one byte where a length is zero.
pub(crate) fn find(options: &[u8], kind: u8) -> Option<&[u8]> {
    let mut rest = options;
    while let Some(&found) = rest.first() {
        if found == kind {
            return Some(rest);
        }
        let step = match found {
            0 | 1 => 1,
            _ => usize::from(rest.get(1).copied().unwrap_or(0)).max(1),
        };
        rest = rest.get(step..).unwrap_or(&[]);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn walks_as_the_kernel_does() {
        let options = [1, 0, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 5, 180, 3, 0, 9];
        assert_eq!(find(&options, 2), Some(&options[12..]));
        assert_eq!(find(&options, 9), Some(&options[18..]));
        assert_eq!(find(&options, 5), None);
        assert_eq!(find(&[8], 2), None);
        assert_eq!(find(&[], 2), None);
    }
}
