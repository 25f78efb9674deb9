// SPDX-License-Identifier: Apache-2.0
//! What holds the process: rules 59 to 84, and the stricter halves of them from 101 on.

use super::rules;
use crate::model::Level::{Baseline, Restricted};

rules! {
    PRIVILEGED = "BRYO-059" Critical Some(Baseline); "RKC"; "Privileged: nothing is confined"; "CIS-5.5 PSS-privileged KSV-0017"; "remove privileged; add exactly what is needed";
    DROP_ALL = "BRYO-060" Medium Some(Restricted); "RKC"; "Not all capabilities are dropped"; "CIS-5.4 PSS-capabilities_restricted KSV-0003 KSV-0004 KSV-0106"; "drop: [ALL]";
    CAPABILITIES = "BRYO-061" High Some(Baseline); "RKC"; "A capability beyond the default ones is added"; "CIS-5.4 PSS-capabilities_baseline KSV-0022"; "remove it from add";
    DANGEROUS_CAPABILITY = "BRYO-062" Critical None; "RKC"; "A capability that gives the host away is added"; "CIS-5.4 KSV-0005 KSV-0119 KSV-0120"; "remove it from add";
    NEW_PRIVILEGES = "BRYO-063" Medium Some(Restricted); "RKC"; "Programs may gain privileges"; "CIS-5.26 PSS-allowPrivilegeEscalation KSV-0001"; "allowPrivilegeEscalation: false, or no-new-privileges";
    SECCOMP_OFF = "BRYO-064" High Some(Baseline); "RKC"; "System calls are not filtered"; "CIS-5.22 PSS-seccompProfile_baseline KSV-0104"; "seccompProfile.type: RuntimeDefault";
    APPARMOR_OFF = "BRYO-065" Medium Some(Baseline); "RKC"; "AppArmor is switched off"; "CIS-5.2 PSS-appArmorProfile KSV-0002"; "RuntimeDefault, or no setting";
    SELINUX = "BRYO-066" Medium Some(Baseline); "RKC"; "An SELinux label of one's own, or none"; "CIS-5.3 PSS-seLinuxOptions KSV-0025"; "remove the setting";
    PROC_MOUNT = "BRYO-067" High Some(Baseline); "RKC"; "Parts of /proc are not masked"; "PSS-procMount KSV-0027"; "procMount: Default";
    HOST_NETWORK = "BRYO-068" High Some(Baseline); "RKC"; "The host's network"; "CIS-5.10 PSS-hostNamespaces KSV-0009"; "a network of its own";
    HOST_PID = "BRYO-069" High Some(Baseline); "RKC"; "The host's processes"; "CIS-5.16 PSS-hostNamespaces KSV-0010"; "a pid namespace of its own";
    HOST_IPC = "BRYO-070" High Some(Baseline); "RKC"; "The host's shared memory"; "CIS-5.17 PSS-hostNamespaces KSV-0008"; "an ipc namespace of its own";
    HOST_OTHER = "BRYO-071" Medium None; "RC"; "Another namespace of the host"; "CIS-5.21 CIS-5.25 CIS-5.31"; "private namespaces";
    SHARED_PID = "BRYO-072" Low None; "KC"; "Containers see each other's processes"; ""; "remove shareProcessNamespace";
    HOST_PATH = "BRYO-073" High Some(Baseline); "RKC"; "Files of the host"; "CIS-5.6 PSS-hostPathVolumes KSV-0023 KSV-0121"; "a volume";
    ENGINE_SOCKET = "BRYO-074" Critical None; "RKC"; "A container engine can be commanded from inside"; "CIS-5.32 KSV-0006"; "remove the socket";
    VOLUME_TYPE = "BRYO-075" Medium Some(Restricted); "K"; "A kind of volume that only the cluster's administrator may use"; "PSS-restrictedVolumes KSV-0028"; "a PersistentVolumeClaim";
    HOST_PORT = "BRYO-076" Medium Some(Baseline); "K"; "A port of the host"; "CIS-5.9 PSS-hostPorts KSV-0024"; "a Service";
    PROBE_HOST = "BRYO-077" Medium Some(Baseline); "K"; "A probe or hook asks another host"; "PSS-hostProbesAndHostLifecycle"; "remove host";
    SYSCTL = "BRYO-078" Medium Some(Baseline); "RKC"; "A kernel parameter that is not known to be safe"; "PSS-sysctls KSV-0026"; "remove it";
    HOST_PROCESS = "BRYO-079" High Some(Baseline); "K"; "A process of the Windows host"; "PSS-windowsHostProcess KSV-0103"; "remove hostProcess";
    DEVICES = "BRYO-080" High None; "RC"; "A device of the host"; "CIS-5.18"; "remove it";
    PROPAGATION = "BRYO-081" Medium None; "RKC"; "Mounts made inside appear outside"; "CIS-5.20"; "private propagation";
    USER_NAMESPACE = "BRYO-082" Medium None; "RKC"; "No user namespace, one whose ids are somebody else's too, or one made inside"; "CIS-5.31"; "hostUsers: false; no userns_mode: host; ranges of one's own in /etc/subuid";
    NOT_ENFORCED = "BRYO-083" Info None; "R"; "What was asked for is not in force"; ""; "delegate the cgroup's controllers to the user; bryo doctor";
    BUILD_PRIVILEGES = "BRYO-084" High None; "D"; "A build step wants privileges, the host's network, a device or a foreign frontend"; ""; "remove the flag";
    ADDED_CAPABILITIES = "BRYO-101" Medium Some(Restricted); "RKC"; "A capability besides NET_BIND_SERVICE is added"; "PSS-capabilities_restricted KSV-0022"; "add nothing but NET_BIND_SERVICE";
    SECCOMP_UNSET = "BRYO-102" Medium Some(Restricted); "K"; "No filter of system calls is asked for"; "PSS-seccompProfile_restricted KSV-0030 KSV-0104"; "seccompProfile.type: RuntimeDefault";
    PROC_MOUNT_ANY = "BRYO-103" Medium Some(Restricted); "K"; "Parts of /proc are not masked, in a user namespace"; "PSS-procMount_restricted"; "procMount: Default";
    PUBLISHED = "BRYO-104" Low None; "RC"; "A port is published on every address of the host"; "CIS-5.14"; "name the address: 127.0.0.1:8080:80";
}
