// SPDX-License-Identifier: Apache-2.0
//! Containers without root: the command line.

fn main() {}
