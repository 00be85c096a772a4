//! Writes what an administrator wrote, with the call's values in the place of the placeholders.
//!
//! It refuses values that would end the string that they stand in.

use super::object::escape;
use super::values::Values;
use crate::config::{Field, Piece, Template};

pub(super) fn write(out: &mut Vec<u8>, template: &Template, values: &Values<'_>) {
    write_pieces(out, template.pieces(), values, "");
}

/// What says that a call is over, for this reason.
pub(super) fn write_pieces(out: &mut Vec<u8>, pieces: &[Piece], values: &Values<'_>, reason: &str) {
    for piece in pieces {
        match piece {
            Piece::Json(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Field(Field::Reason) => escape(out, reason),
            Piece::Field(field) => escape(out, value(*field, values)),
        }
    }
}

fn value<'a>(field: Field, values: &'a Values<'_>) -> &'a str {
    match field {
        Field::Id => values.id(),
        Field::CallId => &values.call.call_id,
        Field::Name => values.name,
        Field::Number => values.number(),
        Field::Host => values.host(),
        Field::User => values.user(),
        Field::Media => values.call.media.as_str(),
        Field::Video => values.video_text(),
        // Only in what says that a call is over.
        Field::Reason => "",
    }
}
