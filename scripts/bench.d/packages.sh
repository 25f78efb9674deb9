# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by scripts/bench: `sbom` of a Debian image of about 1 GB, first and from what is kept, `vulns` with 50,000
# advisories, and `why-root` beside a list of its files.
set -euo pipefail

echo "== packages: sbom and vulns of a Debian image"
root=$BENCH/debian.tar
mmdebstrap --variant=minbase --quiet \
    --include=build-essential,git,python3-dev,python3-pip,nodejs,imagemagick,libgtk-3-dev,ruby-full bookworm "$root"
chmod a+r "$root"
as_user "$BENCH/bryo" import "$root" localhost/debian:1 >/dev/null
data=$BENCH/home/.local/share/bryo
echo "$(as_user "$BENCH/bryo" sbom localhost/debian:1 | grep -c '^deb ') packages, $(tar -tf "$root" | wc -l) files"
# 50,000 advisories of Debian's tracker: those of packages that are there, and others.
as_user "$BENCH/bryo" sbom localhost/debian:1 | awk '$1 == "deb" { print $2 }' |
    jq -R . | jq -s '[., [range(4600) | "other-\(.)"]] | add | [.[] | {key: ., value: ([range(10) | {key: "CVE-2024-\(.)",
        value: {releases: {bookworm: {status: "resolved", fixed_version: "1:2.\(.)-1", urgency: "medium"}}}}]
        | from_entries)}] | from_entries' >"$BENCH/home/tracker.json"
as_user "$BENCH/bryo" advisories update --from "debian=$BENCH/home/tracker.json"
as_user hyperfine -N --style none --runs "${RUNS:-20}" --export-json "$BENCH/home/packages.json" \
    --prepare "rm -rf $data/packages" --command-name "sbom, first" "$BENCH/bryo sbom localhost/debian:1" \
    --prepare true --command-name "sbom, kept" "$BENCH/bryo sbom localhost/debian:1" \
    --prepare true --command-name vulns "$BENCH/bryo vulns localhost/debian:1" >/dev/null
ratios "$BENCH/home/packages.json"
echo "goals: first below 300 ms, kept below 30 ms, vulns not 200 ms above kept"

echo "== why-root of the same image"
layer=$(find "$data" -path '*/blobs/sha256/*' -type f -size +50M -print -quit)
chmod a+r "$layer"
as_user hyperfine -N -i --style none --warmup 1 --runs 3 --export-json "$BENCH/home/why-root.json" \
    --command-name "tar -tv of its layer" "tar -tvf $layer" \
    --command-name "why-root" "$BENCH/bryo why-root -f json localhost/debian:1" >/dev/null 2>&1
ratios "$BENCH/home/why-root.json"
echo "goal: 2 x as long as listing its files at most"
