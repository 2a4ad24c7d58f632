//! Reads single texts out of the XML of an answer, without making anything of the rest. Pure.

use aws_smithy_xml::decode::{Document, ScopedDecoder, try_data};

/// The text of the element at `path`, the root's name first, where the document has one. The first one of each name counts.
pub fn text(document: &[u8], path: &[&str]) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?;
    let mut document = Document::new(text);
    let mut root = document.root_element().ok()?;
    let (first, rest) = path.split_first()?;
    if root.start_el().local() != *first {
        return None;
    }
    below(&mut root, rest)
}

fn below(element: &mut ScopedDecoder<'_, '_>, path: &[&str]) -> Option<String> {
    let Some((first, rest)) = path.split_first() else {
        return try_data(element).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    };
    while let Some(mut child) = element.next_tag() {
        if child.start_el().local() == *first {
            return below(&mut child, rest);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: &[u8] = br#"<?xml version="1.0"?><ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
        <Error><Type>Sender</Type><Code> AccessDenied </Code><Message>x &lt; y</Message></Error></ErrorResponse>"#;

    #[test]
    fn a_text_is_found_by_the_names_of_its_elements() {
        assert_eq!(text(ERROR, &["ErrorResponse", "Error", "Code"]).as_deref(), Some("AccessDenied"));
        assert_eq!(text(ERROR, &["ErrorResponse", "Error", "Message"]).as_deref(), Some("x < y"));
        for path in [&["Error", "Code"][..], &["ErrorResponse", "Code"], &["ErrorResponse", "Error", "Nothing"], &[]] {
            assert_eq!(text(ERROR, path), None, "{path:?}");
        }
    }

    #[test]
    fn what_is_no_xml_has_no_text() {
        for document in [&b""[..], b"\xff", b"{}", b"<html>", b"<Error><Code></Code></Error>"] {
            assert_eq!(text(document, &["Error", "Code"]), None, "{}", String::from_utf8_lossy(document));
        }
    }
}
