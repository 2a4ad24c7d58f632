# The operator's image. The tests run the release binary itself where no container daemon is at hand, so a change here
# may not have been built by them: build it before publishing.
#
# The toolchain is the one of rust-toolchain.toml (a file the context leaves out, so that rustup fetches nothing more).
FROM rust:1.95.0-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin connection-operator

# Of the same Debian release, for its glibc. The roots are those of the build stage: the slim image has none.
FROM debian:12.12-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/connection-operator /usr/local/bin/connection-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/connection-operator"]
CMD ["run"]
