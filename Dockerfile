# The image that `make image` builds without a container engine, for those who have one:
#   cargo build --release && install -D -s "${CARGO_TARGET_DIR:-target}"/release/millstream out/image/millstream
#   docker build -f Dockerfile -t millstream:0.1.0 out/image
# tests/tests/image.rs builds it over the base of `make image` and compares the two.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
FROM ${BASE}
ENV PATH=/usr/local/bin:/usr/bin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
COPY millstream /usr/local/bin/millstream
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/millstream"]
