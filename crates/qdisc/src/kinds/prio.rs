//! prio's options.

use crate::spec::{DEFAULT_PRIOMAP, Prio, QdiscKind};
use crate::units::{NUMBER, Unit};
use crate::words::{ParseError, Word, Words, put};

pub fn prio(kind: Word<'_>, words: &mut Words<'_>) -> Result<QdiscKind, ParseError> {
    let (mut bands, mut priomap) = (None, None);
    while let Some(option) = words.next() {
        match option.text {
            "bands" => words.fill(&mut bands, option, &BANDS)?,
            "priomap" => {
                let mut map = DEFAULT_PRIOMAP;
                let mut given = 0;
                // What is left out keeps its default, as in tc.
                while let Some(band) = words.value_if_number(option, &BAND)? {
                    let Some(place) = map.get_mut(given) else {
                        return Err(option.error("`priomap` takes at most 16 bands, one for each priority"));
                    };
                    *place = band;
                    given += 1;
                }
                if given == 0 {
                    return Err(option.error("`priomap` wants a band, from 0, for each of the 16 priorities"));
                }
                put(&mut priomap, option, map)?;
            }
            _ => return Err(option.unknown("an option of prio that is supported", &["bands", "priomap"])),
        }
    }
    let prio = Prio {
        bands: bands.unwrap_or(crate::spec::DEFAULT_BANDS),
        priomap: priomap.unwrap_or(DEFAULT_PRIOMAP),
    };
    match prio.priomap.iter().find(|band| **band >= prio.bands) {
        None => Ok(QdiscKind::Prio(prio)),
        Some(band) => Err(kind.error(format!(
            "prio's `priomap` has band {band}, but with {} bands the last is {}: give `priomap` as well",
            prio.bands,
            prio.bands - 1
        ))),
    }
}

/// `TCQ_MIN_PRIO_BANDS`, `TCQ_PRIO_BANDS`
const BANDS: Unit<u8> = Unit {
    expected: "a number of bands from 2 to 16",
    read: |word| {
        let bands = (NUMBER.read)(word).filter(|bands| (2..=16).contains(bands))?;
        u8::try_from(bands).ok()
    },
};

const BAND: Unit<u8> = Unit {
    expected: "a band from 0 to 15",
    read: |word| {
        let band = (NUMBER.read)(word).filter(|band| *band < 16)?;
        u8::try_from(band).ok()
    },
};
