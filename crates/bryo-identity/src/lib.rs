// SPDX-License-Identifier: Apache-2.0
//! Who a container is: ids inside, ids on the host, and the maps between them.
