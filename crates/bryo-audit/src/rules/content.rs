// SPDX-License-Identifier: Apache-2.0
//! What is in an image and how it came there: rules 33 to 58.

use super::rules;

rules! {
    SET_ID = "BRYO-033" Medium None; "DI"; "A set-id file"; "CIS-4.8 CIS-DI-0008"; "chmod a-s, or mount nosuid";
    SUDO = "BRYO-034" High None; "DI"; "sudo or doas, or a rule for it"; "DKL-DI-0001 DL3004 DS-0010"; "remove it";
    EMPTY_PASSWORD = "BRYO-035" High None; "DI"; "An account without a password, or with one that the image gives away"; "DKL-LI-0001"; "lock it: ! in the password's field";
    WRITABLE_CODE = "BRYO-036" Medium None; "DI"; "The user can change what it runs"; ""; "code owned by root and mode 0555";
    INSTALLS_AT_START = "BRYO-037" High None; "DIKC"; "Software is fetched or installed when it starts"; ""; "install it while the image is built";
    INSTALLED_WHILE_RUNNING = "BRYO-038" High None; "R"; "Packages were changed in a running container"; ""; "build a new image";
    CHANGED_PROGRAMS = "BRYO-039" High None; "R"; "Programs were changed in a running container"; ""; "build a new image, and run it read-only";
    WRITABLE_ROOT = "BRYO-040" Medium None; "RKC"; "The root file system is writable"; "CIS-5.13 KSV-0014"; "read-only root, tmpfs or emptyDir for what is written";
    TOOLS_LEFT = "BRYO-041" Low None; "DI"; "Compilers or package managers are left in the image"; "CIS-4.3 CIS-DI-0003"; "another stage for the build";
    UPDATE_ALONE = "BRYO-042" Low None; "DI"; "Package lists are updated without an installation in the same step"; "CIS-4.7 CIS-DI-0007 DS-0017"; "update and install in one RUN";
    DIST_UPGRADE = "BRYO-043" Low None; "D"; "All packages are upgraded"; "DKL-DI-0003 DL3035 DS-0024"; "a newer base image, by digest";
    UNPINNED = "BRYO-044" Low None; "D"; "A package without a version"; "DL3008 DL3013 DL3016 DL3018 DL3028 DL3033 DL3037 DL3041 DL3062"; "name the version, or take a lock file";
    CACHE_KEPT = "BRYO-045" Low None; "DI"; "The package manager's cache stays in the image"; "DKL-DI-0004 DKL-DI-0005 DL3009 DL3019 DL3032 DL3036 DL3040 DL3042 DL3060 DS-0015 DS-0019 DS-0020 DS-0025 DS-0027"; "clean it in the same RUN, or a cache mount";
    RECOMMENDED = "BRYO-046" Info None; "D"; "Recommended packages are installed too"; "DL3015 DS-0029"; "--no-install-recommends";
    UNVERIFIED = "BRYO-047" High None; "DIKC"; "Signatures or certificates are not checked"; "CIS-4.11 CIS-DI-0011"; "remove the option";
    REMOTE_CODE = "BRYO-048" Medium None; "D"; "Something is fetched and not verified"; "CIS-4.9 CIS-DI-0009 DL3020 DL4006 DS-0005"; "ADD --checksum=sha256:..., or verify it before use";
    ADD_ARCHIVE = "BRYO-049" Low None; "D"; "ADD unpacks an archive, or does what COPY does"; "CIS-4.9 DL3010 DL3020 DS-0005"; "COPY, or ADD --checksum for what is unpacked";
    MUTABLE_TAG = "BRYO-050" Medium None; "DIKC"; "The image's tag may be another one tomorrow"; "CIS-5.28 DKL-DI-0006 DL3006 DL3007 DS-0001 KSV-0013"; "name the image by its digest: @sha256:...";
    UNTRUSTED_REGISTRY = "BRYO-051" Medium None; "DIKC"; "The image is from a registry that is not trusted, or files are taken from one without a digest"; "CIS-4.2 CIS-4.5 CIS-4.12 CIS-DI-0005 DL3022 DL3026 KSV-0034 KSV-0125"; "an image of a registry on the list, by digest";
    WHOLE_STAGE = "BRYO-052" Medium None; "D"; "The whole file system of another image is copied"; "DL3067"; "copy the paths that are needed";
    SECRET = "BRYO-053" Critical None; "DIKCR"; "A secret in plain sight"; "CIS-4.10 CIS-DI-0010 DL3064 DS-0031 KSV-0109 KSV-01010"; "RUN --mount=type=secret, or a secret of the orchestrator";
    LEFTOVERS = "BRYO-054" Medium None; "DI"; "Version control, environment files or build files are in the image"; "CIS-DI-0010 DKL-LI-0003"; "a .dockerignore";
    END_OF_LIFE = "BRYO-055" High None; "I"; "The distribution gets no security updates any more"; "CIS-4.4 CIS-DI-0004"; "a release that is maintained";
    NO_PACKAGE_DATABASE = "BRYO-056" Medium None; "I"; "Programs, and no list of packages: scanners see nothing"; ""; "keep the package database, or add an SBOM";
    HEALTHCHECK = "BRYO-057" Info None; "DIRC"; "No health check"; "CIS-4.6 CIS-5.27 CIS-DI-0006 DL3057 DS-0026"; "HEALTHCHECK, or a probe of the orchestrator";
    VULNERABLE = "BRYO-107" High None; "IR"; "Packages with published flaws"; "CIS-4.4 CIS-DI-0004"; "install the fixed versions, and build the image anew; bryo vulns has the list";
    ODD_LAYERS = "BRYO-058" Medium None; "I"; "Layers that look wrong: a miner, an unknown origin, programs where none belong, files added and taken away"; ""; "build it anew from sources that you know";
}
