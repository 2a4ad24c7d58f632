# The operator's image: `docker build -t registry.example.com/connection-operator:0.1.0 .`
#
# No container daemon was at hand where it was written: it has not been built. The tests check what can be checked without
# (tests/contract/image.rs): that everything the compiler reads is copied, and that the versions fit; and they run the same
# binary as the chart runs it. Build it and let it print its version before publishing it.
#
# It names no architecture and builds for the one of the machine it is built on; an image for several was never tried.
#
# The toolchain is the one of rust-toolchain.toml, which is not copied, so that rustup fetches nothing more.
FROM rust:1.95.0-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
# OpenSSL is linked in, so that the image needs no library of it; its build wants perl and make, which this image has.
RUN cargo build --release --locked --features vendored-openssl --bin connection-operator

# Of the same Debian release, for its glibc. The roots are those of the build stage: the slim image has none.
FROM debian:12.12-slim
# HDFS by Kerberos: it is loaded when it is used, so the binary would start without it.
RUN apt-get update && apt-get install -y --no-install-recommends libgssapi-krb5-2 && rm -rf /var/lib/apt/lists/*
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/connection-operator /usr/local/bin/connection-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/connection-operator"]
CMD ["run"]
