// SPDX-License-Identifier: Apache-2.0
//! Typed Linux system calls: the only unsafe code of bryo.
