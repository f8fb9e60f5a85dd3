//! Options of transport headers: kind, length, value.

/// Each option, from its kind byte to the end of `options`. Kinds 0 and 1 are single bytes; the kernel goes on behind an
/// end-of-list byte, and by one byte where a length is zero.
pub(crate) fn walk(options: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = options;
    std::iter::from_fn(move || {
        let option = rest;
        let step = match *option {
            [] => return None,
            [0 | 1, ..] | [_] => 1,
            [_, length, ..] => usize::from(length).max(1),
        };
        rest = option.get(step..).unwrap_or(&[]);
        Some(option)
    })
}

/// The option of this kind, from its kind byte to the end of `options`.
pub(crate) fn find(options: &[u8], kind: u8) -> Option<&[u8]> {
    walk(options).find(|option| option.first() == Some(&kind))
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
