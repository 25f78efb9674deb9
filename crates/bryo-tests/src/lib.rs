// SPDX-License-Identifier: Apache-2.0
//! End-to-end tests of bryo, run by an ordinary user against real services.
