//! The text of a segment as a viewer should see it.

/// `text` as one line without mark-up and control characters. Joiners, which Indic scripts and
/// emoji need, are none of those and stay.
pub(super) fn plain(text: &str) -> String {
    let visible: String = without_tags(text)
        .chars()
        .filter(|character| character.is_whitespace() || !character.is_control())
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Drops tags such as `<i>` and `</font>`, which models learn from subtitles, but not a `<` that
/// stands for itself.
fn without_tags(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        kept.push_str(&rest[..open]);
        let inside = &rest[open + 1..];
        let is_tag = inside.trim_start_matches('/').starts_with(|c: char| c.is_ascii_alphabetic());
        match inside.find(['<', '>']) {
            Some(close) if is_tag && inside[close..].starts_with('>') => {
                rest = &inside[close + 1..];
            }
            _ => {
                kept.push('<');
                rest = inside;
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_controls_are_dropped_and_signs_stay() {
        for (text, expected) in [
            (" \u{7}\r\n ", ""),
            ("</b>", ""),
            ("<i>Hel</i>lo\r\n\r\n<font color=\"red\">you\u{2028}all</font>\0", "Hello you all"),
            ("2 < 3 and 4 > 3, I <3 you", "2 < 3 and 4 > 3, I <3 you"),
            ("क\u{94d}\u{200d}ष", "क\u{94d}\u{200d}ष"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }
}
