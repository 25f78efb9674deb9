// SPDX-License-Identifier: Apache-2.0
//! Who the process is: rules 1 to 32.

use super::rules;
use crate::model::Level::Restricted;

rules! {
    NO_USER = "BRYO-001" High None; "DIRC"; "Nothing sets a user: it runs as root"; "CIS-4.1 CIS-DI-0001 DS-0002"; "end the final stage with USER 10001:10001";
    USER_ROOT = "BRYO-002" High None; "DIR"; "The last USER is root"; "CIS-4.1 CIS-DI-0001 DL3002 DS-0002"; "USER 10001:10001, in numbers";
    USER_VARIABLE = "BRYO-003" High None; "D"; "USER comes from a variable that is or may be root"; ""; "write the number into USER";
    USER_ALIAS_OF_ROOT = "BRYO-004" High None; "DIC"; "The name in USER has uid 0, or none, or one that nobody can tell"; "DKL-LI-0002"; "a number in USER, of an account with a uid of its own";
    USER_AMBIGUOUS = "BRYO-005" High None; "DIRC"; "Engines read this user differently"; ""; "a number below 4294967295, or a portable name";
    USER_ONLY_IN_BUILDER = "BRYO-006" High None; "D"; "USER is set in a stage that is not what is built"; ""; "set USER in the final stage";
    USER_INHERITED = "BRYO-007" Info None; "D"; "The user comes from the base image and is not root"; ""; "say USER once more, so that another base changes nothing";
    PROCESS_ROOT = "BRYO-008" High None; "R"; "A process of the container is root, or another user than was set"; "CIS-4.1"; "start it as the user that it is meant to be";
    RUN_AS_NON_ROOT = "BRYO-009" High Some(Restricted); "K"; "Nothing forbids root: runAsNonRoot is not true"; "PSS-runAsNonRoot KSV-0012"; "securityContext.runAsNonRoot: true";
    RUN_AS_USER_ROOT = "BRYO-010" High Some(Restricted); "KC"; "The user is set to root"; "PSS-runAsUser KSV-0105"; "runAsUser: 10001";
    NAMED_USER_UNVERIFIABLE = "BRYO-011" Medium None; "K"; "runAsNonRoot with an image whose USER is a name: the kubelet refuses it"; "DL3066"; "a number in the image's USER, or runAsUser";
    ONBUILD_ROOT = "BRYO-012" Medium None; "DI"; "ONBUILD makes root of whoever builds on it"; ""; "remove ONBUILD USER";
    ROOT_IN_REACH = "BRYO-013" High None; "DI"; "A user that is not root has a way back to it"; "CIS-4.8 CIS-DI-0008 DKL-DI-0001 DL3004 DS-0010"; "remove sudo and set-id bits, and run with no-new-privileges";
    LOW_UID = "BRYO-014" Low None; "DRKC"; "The uid may be an account's of the host"; "KSV-0020"; "a uid from 10001 on";
    LOW_GID = "BRYO-015" Low None; "RKC"; "The gid may be a group's of the host"; "KSV-0021"; "a gid from 10001 on";
    GROUP_ZERO = "BRYO-016" Medium None; "DIRKC"; "The primary group is root's"; "KSV-0116"; "USER uid:gid, or runAsGroup";
    EXTRA_GROUPS = "BRYO-017" Medium None; "IRKC"; "A supplementary group is root's or a powerful one"; "KSV-0116"; "remove the membership; supplementalGroupsPolicy: Strict";
    ANY_UID = "BRYO-018" Info None; "IR"; "With another uid the image cannot write where it must"; ""; "chgrp 0 and chmod g=u on these directories, or mount volumes";
    EXEC_AS_ROOT = "BRYO-019" Medium None; "R"; "A process was started inside with more rights than the container has"; "CIS-5.23 CIS-5.24"; "exec as the container's user";
    BACK_TO_ROOT = "BRYO-020" High None; "RKC"; "The image's user is not root, and this makes it root again"; "KSV-0105"; "remove the override";
    ROOT_IS_HOST_ROOT = "BRYO-021" Medium None; "RKC"; "Root inside is root of the host: no user namespace"; "CIS-5.31"; "a rootless engine, or a user namespace: hostUsers: false";
    LOW_PORT = "BRYO-022" Medium None; "DIKC"; "A port below 1024 for a user that is not root"; "CIS-5.8 KSV-0117"; "a port from 1024 on, or net.ipv4.ip_unprivileged_port_start";
    UNPRIVILEGED_TWIN = "BRYO-023" Medium None; "DIKC"; "The image wants root, and there is one that does not"; ""; "take the unprivileged image";
    DROPS_LATER = "BRYO-024" Medium None; "DIKC"; "It starts as root and changes the user by itself"; ""; "start as the user: USER, and the state directories made in the image";
    ROOT_AT_START = "BRYO-025" Medium None; "DIKC"; "The start does what only root can"; ""; "do it while the image is built, or by the volume's settings";
    START_UNREADABLE = "BRYO-026" Medium None; "I"; "The user cannot start it: what is to be run, or where that writes, is closed to the user"; ""; "chmod a+rx what is run, chown what is written";
    WORKDIR_ODD = "BRYO-027" Low None; "DI"; "The working directory, home or a volume is relative, a link, or not the user's"; "DL3000 DL3045 DS-0009"; "an absolute WORKDIR that the user may enter";
    SYSTEM_DIRECTORY = "BRYO-028" High None; "DIC"; "Working directory or volume on a directory of the system"; "DKL-DI-0002 DS-0030"; "a directory of its own";
    SSHD = "BRYO-029" Medium None; "DIRC"; "An SSH server"; "CIS-5.7 DS-0004"; "remove it; exec into the container";
    CHOWN_CONTAINER = "BRYO-030" Medium None; "K"; "A root container that only changes owners"; "KSV-0105"; "securityContext.fsGroup";
    FILE_CAPABILITIES = "BRYO-031" Medium None; "DI"; "A file has capabilities"; ""; "remove them; add exactly what is needed when it is run";
    SUPERVISOR = "BRYO-032" Low None; "DI"; "Several services under one supervisor"; "DL3001"; "a container for each";
}
