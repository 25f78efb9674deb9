// SPDX-License-Identifier: Apache-2.0
//! The container reaches what was asked, and never the host's loopback.
