// SPDX-License-Identifier: Apache-2.0
//! Resources, network, orchestration and form: rules 85 to 100.

use super::rules;

rules! {
    MEMORY = "BRYO-085" Medium None; "RKC"; "No limit of memory"; "CIS-5.11 KSV-0016 KSV-0018"; "set one";
    CPU = "BRYO-086" Low None; "RKC"; "No limit of processor time"; "CIS-5.12 KSV-0011 KSV-0015"; "set one";
    PIDS = "BRYO-087" Medium None; "RC"; "No limit of processes"; "CIS-5.29"; "--pids-limit 256";
    ULIMITS = "BRYO-088" Low None; "RKC"; "A limit is missing or was lifted: ulimit, shared memory, tmpfs, log"; "CIS-5.19"; "set bounds";
    RESTART = "BRYO-089" Info None; "RC"; "It is restarted without end"; "CIS-5.15"; "on-failure:5";
    DEFAULT_NETWORK = "BRYO-090" Medium None; "RKC"; "A network where everybody reaches everybody: the default bridge, or no NetworkPolicy"; "CIS-5.30 KSV-0038"; "a network of its own; a NetworkPolicy that selects the pod";
    TOKEN = "BRYO-091" Medium None; "K"; "The service account's token is mounted"; "KSV-0036"; "automountServiceAccountToken: false";
    DEFAULT_NAMESPACE = "BRYO-092" Low None; "K"; "The default or a system namespace, or the default service account"; "KSV-0037 KSV-0110"; "a namespace and an account of its own";
    RBAC = "BRYO-093" High None; "K"; "A role gives more than it should"; "KSV-0041 KSV-0042 KSV-0043 KSV-0044 KSV-0045 KSV-0046 KSV-0047 KSV-0048 KSV-0049 KSV-0050 KSV-0053 KSV-0054 KSV-0056 KSV-0111 KSV-0112 KSV-0113 KSV-0114 KSV-0115 KSV-0122 KSV-0123 KSV-01011"; "name the verbs and resources that are needed";
    HOST_ALIASES = "BRYO-094" Low None; "K"; "Names are resolved by hostAliases"; "KSV-0007"; "the cluster's DNS";
    NO_SECURITY_CONTEXT = "BRYO-095" High None; "K"; "No securityContext at all"; "KSV-0118"; "set one for pod and container";
    EXPOSED = "BRYO-096" High None; "K"; "externalIPs, Tiller or snippets of an ingress"; "KSV-0102 KSV-0108"; "remove it";
    PULL_POLICY = "BRYO-097" Info None; "K"; "A tag, which is not asked for again: each node may have another image"; ""; "a digest";
    UNRESOLVED = "BRYO-098" Low None; "DC"; "A setting or a start that cannot be judged: in a file that is not here, or a variable without a value"; ""; "write it here, or give the variable a default";
    FORM = "BRYO-099" Info None; "D"; "Form: what is said hides what is run"; "DL3023 DL3024 DL3025 DL4000 DL4003 DL4004 DS-0006 DS-0007 DS-0012 DS-0016 DS-0022"; "the list form, once, with stages of unique names";
    IGNORED = "BRYO-100" Info None; "DKC"; "A remark switches a check off"; "DL1001"; "give reason and date, and look at it again";
    POLICY = "BRYO-106" High None; "IR"; "A rule of this site's policy does not hold"; ""; "bryo policy check --explain";
}
