// SPDX-License-Identifier: Apache-2.0
//! Images: references, registries, archives, the store, and layers unpacked safely.
