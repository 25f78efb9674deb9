// SPDX-License-Identifier: Apache-2.0
//! Time as records have it.

/// Returns the time now in RFC 3339, UTC.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
