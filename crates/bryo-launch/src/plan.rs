// SPDX-License-Identifier: Apache-2.0
//! What to launch: everything decided, nothing left to choose.

use std::path::PathBuf;

use bryo_identity::Helpers;
use bryo_identity::map::IdMap;
use oci_spec::runtime::Spec;

/// A container to be. The launcher obeys it to the letter or starts nothing.
///
/// The runtime spec says how the process is confined: user, environment, namespaces, mounts, capabilities, filters.
/// What the spec has no words for stands beside it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The OCI runtime spec. Its mounts are made in their order, over the root file system.
    pub spec: Spec,
    /// Where the root file system comes from.
    pub root: RootFs,
    /// Which ids inside are which ids on the host.
    pub ids: IdMap,
    /// On the root rung: the map that layers, volumes and what the container writes are owned through, to be translated
    /// to the container's own.
    pub stored_as: Option<IdMap>,
    /// The helpers that write the map.
    pub helpers: Option<Helpers>,
    /// Small files that are bound read-only over the root file system, such as `/etc/hosts`.
    pub files: Vec<GeneratedFile>,
    /// Directories (paths inside) that stay writable while the root is read-only, with no set-user-id and no devices.
    /// What is written there goes to the container's own layer. A path that does not exist is passed over.
    pub state: Vec<PathBuf>,
    /// Those of them in which programs and libraries may be executed; in the others nothing is (`noexec`, `mount(8)`).
    pub executable: Vec<PathBuf>,
    /// Named volumes; they are mounted after the mounts of the spec.
    pub volumes: Vec<Volume>,
    /// Passes the caller's standard input on; without it the payload reads `/dev/null`.
    pub interactive: bool,
    /// Runs the payload below a small init that reaps orphans and forwards signals.
    pub init: bool,
    /// Says yes to changes of owners and ids that a single id cannot make, and hands those of owners to a listener; see
    /// [`crate::Running::take_listener`]. Where there is none, such a call fails.
    pub emulate_ids: bool,
    /// Leaves the payload stopped before its first instruction, for whoever is to watch it, and to
    /// let it go on (`SIGCONT`). Not together with `init`.
    pub observed: bool,
    /// Confines the payload to its root file system with Landlock as well.
    pub landlock: Landlock,
    /// The devices that `/dev` has besides `null`, by their names there; nothing for all of the harmless ones.
    pub devices: Option<Vec<String>>,
    /// The TCP ports that the payload may use, with Landlock; nothing for all. Where the kernel cannot enforce it, the
    /// container does not start.
    pub ports: Option<TcpPorts>,
}

/// TCP ports, of every address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpPorts {
    /// Those that may be bound; 0 is a port of the kernel's choice.
    pub bind: Vec<u16>,
    /// Those that may be connected to.
    pub connect: Vec<u16>,
}

/// How much Landlock is asked for. Source: `landlock(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlock {
    /// Not at all, for payloads that mount.
    Off,
    /// As far as this kernel has it; what was enforced is reported.
    WhereAvailable,
    /// The container does not start without it.
    Required,
}

/// Where the root file system comes from.
#[derive(Debug, Clone)]
pub enum RootFs {
    /// An overlay of read-only layers and the container's own layer.
    Overlay {
        /// Paths on the host, top layer first.
        lowers: Vec<PathBuf>,
        /// The container's directory on the host, mode 0777 below a directory that only the caller can enter.
        /// The launcher makes `upper` and `work` in it, owned by root inside.
        scratch: PathBuf,
        /// The container's own layer goes away with it, and nothing in it need outlive a crash of the machine.
        volatile: bool,
    },
    /// An empty root in memory, to be filled by mounts.
    Empty {
        /// Symbolic links to make: path inside and what it points to.
        links: Vec<(PathBuf, PathBuf)>,
        /// Directories to make: path inside and mode.
        directories: Vec<(PathBuf, u32)>,
    },
}

/// A file made for this container.
#[derive(Debug, Clone)]
pub struct GeneratedFile {
    /// Absolute path inside.
    pub path: PathBuf,
    /// What it says.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// User and group inside that it belongs to.
    pub owner: (u32, u32),
}

/// A named volume: a directory of the store that outlives the container.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The volume's directory on the host, mode 0777 below a directory that only the caller can enter. The launcher
    /// makes [`Volume::DATA`] in it, with the owner, mode and content that the image has at the target, or else owned by
    /// the run user; a volume that has it is left as it is.
    pub directory: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Mounts it read-only.
    pub read_only: bool,
}

impl Volume {
    /// The name of the data in a volume's directory, which is whole when it is there.
    pub const DATA: &str = "_data";

    /// How the names of data begin that is not whole. Whoever makes it holds a lock on the volume's directory
    /// (`flock(2)`); without one it was left behind.
    pub const UNFINISHED: &str = "_data.new";
}
